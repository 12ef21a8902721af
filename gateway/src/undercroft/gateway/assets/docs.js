// Renders /openapi.json. Text from the document enters the page as text only, never as markup.

const METHODS = ["get", "post", "put", "patch", "delete"];
const content = document.getElementById("content");
const index = document.getElementById("index");
const search = document.getElementById("search");

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

function resolve(api, value) {
  for (let depth = 0; value && value.$ref && depth < 20; depth += 1) {
    value = value.$ref.replace(/^#\//, "").split("/").reduce(
      (found, part) => found?.[part.replaceAll("~1", "/").replaceAll("~0", "~")], api);
  }
  return value ?? {};
}

function typeName(api, schema) {
  if (schema?.$ref) return schema.$ref.split("/").pop();
  const known = schema ?? {};
  const choices = known.anyOf ?? known.oneOf;
  if (choices) return choices.map((each) => typeName(api, each)).join(" | ");
  if (known.enum) return known.enum.map((each) => JSON.stringify(each)).join(" | ");
  if ("const" in known) return JSON.stringify(known.const);
  if (known.type === "array") return `${typeName(api, known.items)}[]`;
  const type = Array.isArray(known.type) ? known.type.join(" | ") : known.type ?? "any";
  return known.format ? `${type} (${known.format})` : type;
}

function example(api, schema, depth = 0) {
  const known = resolve(api, schema);
  if (known.examples?.length) return known.examples[0];
  if ("example" in known) return known.example;
  if ("default" in known) return known.default;
  if ("const" in known) return known.const;
  if (known.enum) return known.enum[0];
  const choices = known.anyOf ?? known.oneOf;
  if (choices) return example(api, choices[0], depth + 1);
  if (depth > 4) return null;
  if (known.allOf) return Object.assign({}, ...known.allOf.map((each) => example(api, each, depth + 1)));
  const type = Array.isArray(known.type) ? known.type[0] : known.type;
  if (type === "object" || known.properties) {
    return Object.fromEntries(
      Object.entries(known.properties ?? {}).map(([name, each]) => [name, example(api, each, depth + 1)]));
  }
  if (type === "array") return [example(api, known.items, depth + 1)];
  if (type === "string") return known.format === "date-time" ? "2026-01-01T00:00:00Z" : "string";
  return { integer: known.minimum ?? 0, number: known.minimum ?? 0, boolean: true }[type] ?? null;
}

function prose(text) {
  return (text ?? "").split(/\n\s*\n/).filter(Boolean).map((part) => {
    const paragraph = element("p");
    part.split("`").forEach((piece, position) =>
      paragraph.append(position % 2 ? element("code", {}, piece) : piece.replaceAll("\n", " ")));
    return paragraph;
  });
}

function table(headers, rows) {
  return element("table", {},
    element("thead", {}, element("tr", {}, ...headers.map((each) => element("th", { scope: "col" }, each)))),
    element("tbody", {}, ...rows.map((cells) =>
      element("tr", {}, ...cells.map((cell) => element("td", {}, ...[cell].flat()))))));
}

function members(api, schema) {
  const known = resolve(api, schema?.items && !schema.properties ? schema.items : schema);
  const required = new Set(known.required ?? []);
  const rows = Object.entries(known.properties ?? {}).map(([name, each]) => [
    element("code", {}, name),
    element("span", { class: "muted" }, typeName(api, each) + (required.has(name) ? ", required" : "")),
    prose(each.description ?? resolve(api, each).description),
  ]);
  return rows.length ? table(["Member", "Type", "Meaning"], rows) : null;
}

function sample(value) {
  return element("pre", { tabindex: "0" }, JSON.stringify(value, null, 2));
}

function body(api, title, media) {
  const [type, description] = Object.entries(media ?? {})[0] ?? [];
  if (!type || !description.schema) return [];
  return [
    element("h4", {}, title, " ", element("code", {}, type)),
    members(api, description.schema),
    element("details", {}, element("summary", {}, "Example"), sample(description.example ?? example(api, description.schema))),
  ];
}

function curl(api, operation) {
  const shown = (value) => `'${String(value).replaceAll("'", "'\\''")}'`;
  const parts = [`curl ${operation.method === "get" ? "" : `-X ${operation.method.toUpperCase()} `}${shown(location.origin + operation.path)}`];
  if (operation.needsKey) parts.push('-H "Authorization: Bearer $UNDERCROFT_KEY"');
  const [type, media] = Object.entries(resolve(api, operation.requestBody).content ?? {})[0] ?? [];
  if (type) {
    parts.push(`-H ${shown(`Content-Type: ${type}`)}`);
    parts.push(`-d ${shown(JSON.stringify(media.example ?? example(api, media.schema)))}`);
  }
  return parts.join(" \\\n  ");
}

function parameters(api, operation) {
  const rows = operation.parameters.map((reference) => {
    const each = resolve(api, reference);
    return [
      element("code", {}, each.name),
      element("span", { class: "muted" }, `${each.in}, ${typeName(api, each.schema)}${each.required ? ", required" : ""}`),
      prose(each.description),
    ];
  });
  return rows.length ? [element("h4", {}, "Parameters"), table(["Name", "Where and type", "Meaning"], rows)] : [];
}

function responses(api, operation) {
  const rows = Object.entries(operation.responses ?? {}).map(([status, reference]) => {
    const each = resolve(api, reference);
    const [type, media] = Object.entries(each.content ?? {})[0] ?? [];
    return [element("code", {}, status), element("span", { class: "muted" }, media?.schema ? typeName(api, media.schema) : type ?? ""), prose(each.description)];
  });
  const good = Object.entries(operation.responses ?? {}).find(([status]) => status.startsWith("2"));
  return [
    element("h4", {}, "Answers"),
    table(["Status", "Type", "Meaning"], rows),
    ...(good ? body(api, "Answer", resolve(api, good[1]).content) : []),
  ];
}

function copyButton(text) {
  const button = element("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
}

function card(api, operation) {
  const command = curl(api, operation);
  const scopes = operation["x-required-scopes"];
  return element("article", { id: operation.id },
    element("h3", {},
      element("span", { class: `method ${operation.method}` }, operation.method.toUpperCase()),
      element("a", { href: `#${operation.id}` }, element("code", {}, operation.path)),
      element("span", { class: "lock" }, operation.needsKey ? (scopes ? `key or token with ${scopes.join(" or ")}` : "key or token") : "public")),
    element("p", {}, element("strong", {}, operation.summary ?? "")),
    ...prose(operation.description),
    ...parameters(api, operation),
    ...body(api, "Body", resolve(api, operation.requestBody).content),
    ...responses(api, operation),
    element("div", { class: "copy" }, element("h4", {}, "Try it"), copyButton(command)),
    element("pre", { tabindex: "0" }, command));
}

function isDemanded(security) {
  return security.length > 0 && security.every((each) => Object.keys(each).length > 0);
}

function operationsOf(api) {
  return Object.entries(api.paths).flatMap(([path, item]) => METHODS.filter((method) => item[method]).map((method) => {
    const operation = item[method];
    return {
      ...operation, path, method,
      parameters: [...(item.parameters ?? []), ...(operation.parameters ?? [])],
      needsKey: isDemanded(operation.security ?? api.security ?? []),
      tag: operation.tags?.[0] ?? "other",
      id: operation.operationId ?? `${method}${path}`.replace(/[^a-z0-9]+/gi, "-"),
      text: `${method} ${path} ${operation.summary ?? ""} ${operation.description ?? ""} ${operation.tags ?? ""} ${JSON.stringify(operation.requestBody ?? "")}`.toLowerCase(),
    };
  }));
}

function render(api, operations, words) {
  const shown = operations.filter((operation) => words.every((word) => operation.text.includes(word)));
  const groups = Map.groupBy ? Map.groupBy(shown, (each) => each.tag) : shown.reduce(
    (found, each) => found.set(each.tag, [...(found.get(each.tag) ?? []), each]), new Map());
  const sections = [...groups].sort(([one], [other]) => one.localeCompare(other));
  index.replaceChildren(...sections.flatMap(([tag, members]) => [
    element("h2", {}, tag),
    element("ul", {}, ...members.map((each) => element("li", {}, element("a", { href: `#${each.id}` },
      element("span", { class: `method ${each.method}` }, each.method.toUpperCase()), each.summary ?? each.path)))),
  ]));
  const missing = api["x-undercroft-missing"];
  content.replaceChildren(
    ...(words.length ? [] : [element("h2", {}, api.info.title), ...prose(api.info.description)]),
    ...(missing ? [element("p", { class: "notice" }, `Not shown because it is away right now: ${missing.join(", ")}.`)] : []),
    element("p", { class: "muted", role: "status" }, `${shown.length} of ${operations.length} operations`),
    ...sections.flatMap(([tag, members]) => [element("h2", {}, tag), ...members.map((each) => card(api, each))]));
}

function markCurrent() {
  for (const link of index.querySelectorAll("a")) {
    if (link.getAttribute("href") === location.hash) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

try {
  const response = await fetch("/openapi.json");
  if (!response.ok) throw new Error(`status ${response.status}`);
  const api = await response.json();
  const operations = operationsOf(api);
  render(api, operations, []);
  if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
  markCurrent();
  search.addEventListener("input", () => {
    render(api, operations, search.value.toLowerCase().split(/\s+/).filter(Boolean));
    markCurrent();
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "ArrowDown") { event.preventDefault(); index.querySelector("a")?.focus(); }
    if (event.key === "Escape") { search.value = ""; search.dispatchEvent(new Event("input")); }
  });
  index.addEventListener("keydown", (event) => {
    const links = [...index.querySelectorAll("a")];
    const next = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (next) { event.preventDefault(); (links[links.indexOf(document.activeElement) + next] ?? search).focus(); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== search) { event.preventDefault(); search.focus(); }
  });
  window.addEventListener("hashchange", markCurrent);
} catch (error) {
  content.replaceChildren(element("p", { role: "alert" }, `The API document could not be loaded (${error.message}). Reload to try again.`));
}
