# Why a statement has no test, by version: each reason with the numbers it holds for.
client =
  "Binds the client alone, and no statement says what a server does when it is broken. This library has no client."

websocket = "There is no listener for WebSocket. A server may serve TCP only."

%{
  "3.1.1" => [
    {"Binds the client, which this library has not. What a server does when it is broken is MQTT-3.1.2-24.",
     ~w(MQTT-3.1.2-23)},
    {client, ~w(MQTT-2.3.1-2 MQTT-2.3.1-3 MQTT-3.14.4-1 MQTT-4.5.0-2 MQTT-7.1.2-1)},
    {websocket, ~w(MQTT-6.0.0-1 MQTT-6.0.0-2 MQTT-6.0.0-3 MQTT-6.0.0-4)},
    {"For servers that connect to other servers. This one does not.", ~w(MQTT-7.0.0-1)}
  ],
  "5.0" => [
    {"Binds the client, which this library has not. What a server does when it is broken is MQTT-3.1.2-22.",
     ~w(MQTT-3.1.2-20)},
    {client, ~w(MQTT-3.2.2-4 MQTT-3.2.2-5 MQTT-3.3.2-10 MQTT-3.3.4-8 MQTT-4.5.0-2
        MQTT-4.6.0-1 MQTT-4.6.0-2 MQTT-4.6.0-3 MQTT-4.6.0-4)},
    {websocket, ~w(MQTT-6.0.0-1 MQTT-6.0.0-2 MQTT-6.0.0-3 MQTT-6.0.0-4)}
  ]
}
