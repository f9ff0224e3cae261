defmodule MQTT.Conformance.V4KeepingTest do
  use MQTT.Test.Conformance, version: "3.1.1"

  statement "MQTT-3.12.4-1", "PINGREQ is answered" do
    client = connected(broker(), "C")
    send_bytes(client, <<0xC0, 0>>)
    assert recv(client) == <<0xD0, 0>>
  end
end
