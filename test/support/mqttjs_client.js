// A client of MQTT.Test.Clients, with the arguments and options of paho_client.py.
"use strict";

const path = require("node:path");
const mqtt = require(path.join(__dirname, "../../target/npm/node_modules/mqtt"));

const [role, port, version, qos, topic, number, ...settings] = process.argv.slice(2);
const { id, session, will, retain, expiry, reconnect } = Object.fromEntries(
  settings.map((setting) => setting.split("=")),
);
const isV5 = version === "5";

const deadline = setTimeout(() => {
  console.log("did not end");
  process.exit(1);
}, 60_000);

function connect(options = {}) {
  return mqtt.connect({
    host: "127.0.0.1",
    port: Number(port),
    protocolVersion: isV5 ? 5 : 4,
    reconnectPeriod: reconnect ? 20 : 0,
    clientId: id,
    clean: !session,
    ...(will && { will: { topic: will, payload: "gone", qos: 1 } }),
    // So few messages at a time that the server has to wait, and topic aliases both ways, but none for
    // messages of QoS 2 from the server: MQTT.js 5.16 has forgotten their topic when PUBREL comes.
    ...(isV5 && {
      properties: {
        receiveMaximum: 7,
        topicAliasMaximum: qos === "2" ? 0 : 5,
        ...(session && { sessionExpiryInterval: Number(session) }),
      },
      autoAssignTopicAlias: true,
    }),
    ...options,
  });
}

function connected(client) {
  return new Promise((resolve, reject) => client.on("connect", resolve).on("error", reject));
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

// Before the messages that come behind SUBACK, unlike the promise.
function writeSubscribed(client) {
  client.on("packetreceive", ({ cmd }) => {
    if (cmd === "suback") write("Subscribed");
  });
}

async function subscribe(client, qos, filter, count) {
  let received = 0;
  const enough = new Promise((resolve) => {
    client.on("message", (...message) => {
      writeMessage(...message);
      if (++received === count) resolve(true);
    });
    client.on("disconnect", (packet) => {
      write("DISCONNECT", packet.reasonCode);
      resolve(false);
    });
    client.on("close", () => {
      if (reconnect) return;
      if (!isV5) write("DISCONNECT", "");
      resolve(false);
    });
  });
  const properties = isV5 ? { properties: { subscriptionIdentifier: 77 } } : {};
  // What waits for it may come at once.
  await connected(client);
  writeSubscribed(client);
  await client.subscribeAsync(filter, { qos, ...properties });
  if (!(await enough)) return;
  // What is sent twice comes before the answer to this.
  await client.unsubscribeAsync(session ? "none" : filter);
  client.removeAllListeners("close");
  await client.endAsync();
}

async function publish(client, qos, topic, count) {
  await connected(client);
  const sent = [];
  for (let n = 1; n <= count; n++) {
    const properties = {
      messageExpiryInterval: Number(expiry ?? 3600),
      contentType: "text/plain",
      responseTopic: "answers/ü",
      correlationData: Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(String(n))]),
      payloadFormatIndicator: true,
      userProperties: { unit: ["°C", "K", "°C"], a: "1" },
    };
    const options = { qos, retain: retain === "1", ...(isV5 && { properties }) };
    sent.push(client.publishAsync(topic, `message ${n}`, options));
  }
  await Promise.all(sent);
  await client.endAsync();
}

async function answer(client, qos, topic, count) {
  const answers = [];
  const enough = new Promise((resolve) => {
    client.on("message", (_topic, payload, packet) => {
      const { responseTopic, correlationData } = packet.properties;
      const options = { qos, properties: { correlationData } };
      answers.push(client.publishAsync(responseTopic, `answer to ${payload}`, options));
      if (answers.length === count) resolve();
    });
  });
  await connected(client);
  writeSubscribed(client);
  await client.subscribeAsync(topic, { qos });
  await enough;
  await Promise.all(answers);
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
    const play = { subscribe, publish, answer }[role];
    await play(connect(), Number(qos), topic, Number(number));
  }
  clearTimeout(deadline);
}

main().catch((error) => {
  console.log(error);
  process.exit(1);
});
