// Subscribes to a symbol with the official client, and says each event as a line of JSON.
//
//     node client.js <hub's address> json|messagepack <symbol>
//
// It subscribes again whenever it has come back, as every client has to. It ends with its stdin.
import { HubConnectionBuilder, HubConnectionState, LogLevel } from "@microsoft/signalr";
import { MessagePackHubProtocol } from "@microsoft/signalr-protocol-msgpack";

const [url, encoding, symbol] = process.argv.slice(2);
const say = (event, argument) => console.log(JSON.stringify([event, argument ?? null]));

const builder = new HubConnectionBuilder()
  .withUrl(url)
  .withAutomaticReconnect({ nextRetryDelayInMilliseconds: () => 200 })
  .configureLogging(LogLevel.None);
if (encoding === "messagepack") builder.withHubProtocol(new MessagePackHubProtocol());
const connection = builder.build();

const subscribe = () => connection.invoke("SubscribeToPriceUpdates", "STOCK", [symbol]);

for (const event of [
  "ConnectionStatus",
  "SubscriptionConfirmed",
  "SubscriptionError",
  "PriceUpdate",
  "DataSourceChanged",
  "CurrentMarketStatus",
])
  connection.on(event, (argument) => say(event, argument));
connection.onreconnecting(() => say("reconnecting"));
connection.onreconnected(async () => {
  say("reconnected");
  await subscribe();
});
connection.onclose((error) => say("closed", error?.message));

process.stdin.resume();
process.stdin.on("end", async () => {
  if (connection.state !== HubConnectionState.Disconnected) await connection.stop();
  process.exit(0);
});

await connection.start();
await subscribe();
await connection.invoke("Nope").catch((error) => say("refused", error.message));
