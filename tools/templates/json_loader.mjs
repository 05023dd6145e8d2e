// Some of GitHub's packages import JSON without saying so, which Node refuses: such a file becomes a module here.
import { registerHooks } from "node:module";
import { readFileSync } from "node:fs";

registerHooks({
  resolve(specifier, context, next) {
    const found = next(specifier, context);
    return found.url.endsWith(".json") ? { ...found, format: "json", importAttributes: { type: "json" } } : found;
  },
  load(url, context, next) {
    if (!url.startsWith("file:") || !url.endsWith(".json")) return next(url, context);
    const source = `export default ${readFileSync(new URL(url), "utf8")}`;
    return { format: "module", source, shortCircuit: true };
  },
});
