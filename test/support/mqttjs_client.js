// A client of MQTT.ClientsTest, as paho_client.py:
//
//   subscribe PORT VERSION QOS FILTER COUNT
//   publish PORT VERSION QOS TOPIC COUNT
//   refusals PORT VERSION
"use strict";

const path = require("node:path");
const mqtt = require(path.join(__dirname, "../../target/npm/node_modules/mqtt"));

const [role, port, version, ...rest] = process.argv.slice(2);
const isV5 = version === "5";

const deadline = setTimeout(() => {
  console.log("did not end");
  process.exit(1);
}, 20_000);

function connect(options = {}) {
  return mqtt.connect({
    host: "127.0.0.1",
    port: Number(port),
    protocolVersion: isV5 ? 5 : 4,
    reconnectPeriod: 0,
    // So few messages at a time that the server has to wait, and topic aliases both ways, but none for
    // messages of QoS 2 from the server: MQTT.js 5.16 has forgotten their topic when PUBREL comes.
    ...(isV5 && {
      properties: { receiveMaximum: 7, topicAliasMaximum: rest[0] === "2" ? 0 : 5 },
      autoAssignTopicAlias: true,
    }),
    ...options,
  });
}

function write(...fields) {
  const tab = Buffer.from("\t");
  const parts = fields.flatMap((field) => [
    tab,
    Buffer.isBuffer(field) ? field : Buffer.from(String(field ?? "")),
  ]);
  process.stdout.write(Buffer.concat([...parts.slice(1), Buffer.from("\n")]));
}

function writeMessage(topic, payload, packet) {
  const properties = packet.properties ?? {};
  // Several properties of one name are an array.
  const user = Object.entries(properties.userProperties ?? {}).flatMap(([name, values]) =>
    [values].flat().map((value) => `${name}:${value}`),
  );
  const format = properties.payloadFormatIndicator;
  write(
    topic,
    packet.qos,
    Number(packet.retain),
    payload,
    properties.messageExpiryInterval,
    properties.contentType,
    properties.responseTopic,
    properties.correlationData,
    format === undefined ? "" : Number(format),
    [properties.subscriptionIdentifier ?? []].flat().join(" "),
    user.join(" "),
  );
}

async function subscribe(client, qos, filter, count) {
  const messages = [];
  const enough = new Promise((resolve) => {
    client.on("message", (...message) => {
      if (messages.push(message) === count) resolve();
    });
  });
  const properties = isV5 ? { properties: { subscriptionIdentifier: 77 } } : {};
  await client.subscribeAsync(filter, { qos, ...properties });
  write("Subscribed");
  await enough;
  // What is sent twice comes before the answer to this.
  await client.unsubscribeAsync(filter);
  await client.endAsync();
  for (const message of messages) writeMessage(...message);
}

async function publish(client, qos, topic, count) {
  const sent = [];
  for (let n = 1; n <= count; n++) {
    const properties = {
      messageExpiryInterval: 3600,
      contentType: "text/plain",
      responseTopic: "answers/ü",
      correlationData: Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(String(n))]),
      payloadFormatIndicator: true,
      userProperties: { unit: ["°C", "K", "°C"], a: "1" },
    };
    sent.push(client.publishAsync(topic, `message ${n}`, { qos, ...(isV5 && { properties }) }));
  }
  await Promise.all(sent);
  await client.endAsync();
}

// What came that can refuse something, as MQTT.js read it.
function writeAnswers(client) {
  client.on("packetreceive", (packet) => {
    const code = packet.granted ?? (isV5 ? packet.reasonCode : packet.returnCode);
    write(packet.cmd.toUpperCase(), code, packet.properties?.reasonString);
  });
}

async function refusals() {
  const rejected = connect({ username: "forbidden" });
  writeAnswers(rejected);
  await new Promise((resolve) => rejected.on("error", resolve));

  const client = connect();
  await new Promise((resolve) => client.on("connect", resolve));
  writeAnswers(client);
  const closed = new Promise((resolve) => client.on("close", resolve));
  const refused = (error) => error;
  await client.subscribeAsync("forbidden/#", { qos: 1 }).catch(refused);
  await client.unsubscribeAsync("none").catch(refused);
  await client.publishAsync("forbidden/x", "x", { qos: 1 }).catch(refused);
  await client.publishAsync("forbidden/x", "x", { qos: 2 }).catch(refused);
  await client.publishAsync("leave", "x", { qos: 0 });
  await closed;
}

async function main() {
  if (role === "refusals") {
    await refusals();
  } else {
    const [qos, topic, count] = rest;
    const client = connect();
    await new Promise((resolve, reject) => client.on("connect", resolve).on("error", reject));
    await { subscribe, publish }[role](client, Number(qos), topic, Number(count));
  }
  clearTimeout(deadline);
}

main().catch((error) => {
  console.log(error);
  process.exit(1);
});
