// Evaluates GitHub's expressions with GitHub's own package: one JSON request per line, one JSON answer per line.
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const packages = process.argv[2];
const { Lexer, Parser, Evaluator, data } = await import(
  pathToFileURL(join(packages, "node_modules", "@actions/expressions/dist/index.js"))
);

function plain(value) {
  return JSON.parse(JSON.stringify(value, data.replacer));
}

for await (const line of createInterface({ input: process.stdin })) {
  const { expression, contexts, status } = JSON.parse(line);
  const functions = new Map();
  for (const [name, value] of Object.entries(status)) {
    functions.set(name, { name, minArgs: 0, maxArgs: 0, call: () => new data.BooleanData(value) });
  }
  try {
    const { tokens } = new Lexer(expression).lex();
    const parsed = new Parser(tokens, Object.keys(contexts), [...functions.values()]).parse();
    const context = JSON.parse(JSON.stringify(contexts), data.reviver);
    const result = new Evaluator(parsed, context, functions).evaluate();
    console.log(JSON.stringify({ value: plain(result), text: result.coerceString() }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
