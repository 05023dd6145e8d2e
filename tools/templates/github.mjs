// Checks workflows and actions with GitHub's own language service: node github.mjs PACKAGES TEMPLATES ROOT FILE…
// What they call in another repository is read from TEMPLATES, the repository that holds our workflows.
// Prints one line for each finding; its exit code says whether there is one.
import "./json_loader.mjs";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [packages, templates, root, ...files] = process.argv.slice(2);
const require = createRequire(pathToFileURL(join(packages, "package.json")));
const load = (name) => import(pathToFileURL(join(packages, "node_modules", name)));
const { validate } = await load("@actions/languageservice/dist/index.js");
const { TextDocument } = await import(pathToFileURL(require.resolve("vscode-languageserver-textdocument")));
const known = JSON.parse(readFileSync(new URL("actions.json", import.meta.url)));

const fileProvider = {
  async getFileContent(reference) {
    const place = "repository" in reference ? templates : root;
    return { name: reference.path, content: readFileSync(join(place, reference.path.replace(/^\$\//, "")), "utf8") };
  },
};
const actionsMetadataProvider = {
  async fetchActionMetadata({ owner, name, path }) {
    const inputs = known[[owner, name, path].filter(Boolean).join("/")];
    const described = inputs && Object.fromEntries(inputs.map((input) => [input, { description: "" }]));
    return { name, description: "", inputs: described };
  },
};

let found = 0;
for (const file of files) {
  const document = TextDocument.create(pathToFileURL(join(root, file)).href, "yaml", 1, readFileSync(join(root, file), "utf8"));
  for (const { range, severity, message } of await validate(document, { fileProvider, actionsMetadataProvider })) {
    if ((severity ?? 1) > 2) continue;
    console.log(`${file}:${range.start.line + 1}: ${message}`);
    found += 1;
  }
}
process.exitCode = found ? 1 : 0;
