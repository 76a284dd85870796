// Says what the console calls each of the prices that come in: node called.mjs <freshness.js> < cases
import { readFileSync } from "node:fs";

const source = readFileSync(process.argv[2], "utf8");
const { priceWord } = await import(`data:text/javascript,${encodeURIComponent(source)}`);
const cases = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map(({ price, known, nowMs }) => priceWord(price, known, nowMs))));
