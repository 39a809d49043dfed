// What the CloudEvents SDK reads: node cloudevents.mjs FILE, a JSON list of {headers, body} as its HTTP binding
// has them -> a JSON list, for each of these the events that it holds. The SDK has no binding for AMQP 0-9-1,
// whose headers have the same names.
import { readFileSync } from "node:fs";
import { HTTP } from "cloudevents";

const messages = JSON.parse(readFileSync(process.argv[2], "utf-8"));
const read = messages.map((message) => [HTTP.toEvent(message)].flat());
for (const event of read.flat()) event.validate();
console.log(JSON.stringify(read));
