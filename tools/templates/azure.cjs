// Checks pipelines with Azure's own language service: node azure.cjs PACKAGES SCHEMA ROOT FILE…
// Prints one line for each finding; its exit code says whether there is one.
const { readFileSync } = require("node:fs");
const { createRequire } = require("node:module");
const { join } = require("node:path");

const [packages, schemaFile, root, ...files] = process.argv.slice(2);
const from = createRequire(join(packages, "package.json"));
const print = console.log;
console.log = () => {}; // the service talks
const { getLanguageService } = from("azure-pipelines-language-service");
const { TextDocument } = from("vscode-languageserver-textdocument");
const { parse } = from("azure-pipelines-language-service/lib/parser/yamlParser");

const schema = JSON.parse(readFileSync(schemaFile, "utf8"));
const uri = "file:///azure-pipelines.json";
const service = getLanguageService(async () => schema, [], async () => uri);
service.configure({ validate: true, schemas: [{ uri, fileMatch: ["*"], schema }] });

(async () => {
  let found = 0;
  for (const file of files) {
    const text = readFileSync(join(root, file), "utf8");
    const document = TextDocument.create(`file:///${file}`, "yaml", 1, text);
    for (const { range, message } of await service.doValidation(document, parse(text))) {
      print(`${file}:${range.start.line + 1}: ${message}`);
      found += 1;
    }
  }
  process.exitCode = found ? 1 : 0;
})();
