// How values are written, by the names that Grafana has for units.

const COLORS = { green: "#73bf69", orange: "#ff9830", red: "#f2495c", blue: "#5794f2" };
export const PALETTE = ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff",
  "#96d98d", "#ffb357", "#c4162a", "#705da0", "#37872d", "#fade2a", "#447ebc"];

export const color = (name) => COLORS[name] ?? name;

const digits = (value) =>
  Math.abs(value) >= 100 || Number.isInteger(value) ? value.toFixed(0) : String(+value.toPrecision(3));

function scaled(value, base, names) {
  let n = 0;
  while (Math.abs(value) >= base && n < names.length - 1) { value /= base; n += 1; }
  return `${digits(value)}${names[n]}`;
}

function seconds(value) {
  const size = Math.abs(value);
  if (size && size < 1) return `${digits(value * 1000)} ms`;
  for (const [length, name] of [[86400, "d"], [3600, "h"], [60, "min"]])
    if (size >= length) return `${digits(value / length)} ${name}`;
  return `${digits(value)} s`;
}

const WRITTEN = {
  s: seconds,
  m: (value) => seconds(value * 60),
  bytes: (value) => scaled(value, 1024, [" B", " KiB", " MiB", " GiB"]),
  short: (value) => scaled(value, 1000, ["", " K", " Mil", " Bil"]),
  cps: (value) => `${scaled(value, 1000, ["", "k", "M"])} c/s`,
  percent: (value) => `${digits(value)}%`,
  percentunit: (value) => `${digits(value * 100)}%`,
  currencyUSD: (value) => `$${value.toFixed(2)}`,
  cores: (value) => `${digits(value)} cores`,
};

export function written(value, unit) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return unit === "dateTimeAsIso" ? value.replace(/T|Z/g, " ").trim() : String(value);
  return (WRITTEN[unit] ?? digits)(value);
}

// The word and the colour of a single value.
export function judged(value, defaults) {
  for (const mapping of defaults.mappings ?? []) {
    const found = mapping.options[String(value)];
    if (found) return { text: found.text, color: color(found.color) };
  }
  let reached = "blue";
  for (const step of defaults.thresholds.steps) if (step.value === null || value >= step.value) reached = step.color;
  return { text: written(value, defaults.unit), color: color(reached) };
}
