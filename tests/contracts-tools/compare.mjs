// Reads [[before, after], ...] from a file and prints, pair by pair, what would break who relies on `before`.
import { readFileSync } from "node:fs";
import { apiCompare } from "api-smart-diff";

// api-smart-diff judges answers by turning around what it says of requests. Some changes break both.
const EITHER_WAY = ["type", "const", "format", "pattern"];

const breaks = ({ action, path, type }) =>
  type === "breaking" || (type === "non-breaking" && action === "replace" && EITHER_WAY.includes(path.at(-1)));

// It looks at the words of an enum, not at whether there is one: a pattern more or less says that, too.
const closed = (value) => {
  if (Array.isArray(value)) return value.map(closed);
  if (value === null || typeof value !== "object") return value;
  const found = Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, closed(inner)]));
  return Array.isArray(found.enum) && !found.pattern ? { ...found, pattern: "closed" } : found;
};

const pairs = JSON.parse(readFileSync(process.argv[2], "utf8"));
const found = pairs.map(([before, after]) =>
  apiCompare(closed(before), closed(after))
    // What is shared is judged where it is used: the same change can break an answer and no request.
    .diffs.filter((change) => change.path[0] !== "components" && breaks(change))
    .map((change) => `${change.action} ${change.path.join(" ")}`),
);
console.log(JSON.stringify(found));
