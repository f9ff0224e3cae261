defmodule MQTT.Conformance.V4WillTest do
  # Section 3.1: the will.
  use MQTT.Test.Conformance, version: "3.1.1"

  # A client with a will, which somebody watches.
  defp watched(flags \\ 0x06) do
    port = broker()
    watcher = connected(port, "W") |> subscribed([{"w", 0}])
    {port, watcher, connected(port, "C", flags, ["w", "gone"])}
  end

  statement "MQTT-3.1.2-8", "the will of a client whose connection broke is published" do
    {_port, watcher, client} = watched()
    abort(client)
    assert recv(watcher) == publish("w", "gone")
  end

  statement "MQTT-3.1.2-8", "the will of a client that broke the protocol is published" do
    {_port, watcher, client} = watched()
    send_bytes(client, <<0x20, 2, 0, 0>>)
    assert recv(watcher) == publish("w", "gone")
  end

  statement "MQTT-3.1.2-8", "the will of a client that closed without DISCONNECT is published" do
    {_port, watcher, client} = watched()
    close(client)
    assert recv(watcher) == publish("w", "gone")
  end

  statement "MQTT-3.1.2-8", "the will of a client that fell silent is published" do
    port = broker()
    watcher = connected(port, "W") |> subscribed([{"w", 0}])
    assert {_, <<0x20, 2, 0, 0>>} = try_connect(port, connect(0x06, ["C", "w", "gone"], 1))
    assert recv(watcher) == publish("w", "gone")
  end

  statement "MQTT-3.1.2-9", "with the Will Flag a missing will closes the connection" do
    port = broker()
    assert_not_connected(port, connect(0x06, ["C"]))
    assert_not_connected(port, connect(0x06, ["C", "w"]))
  end

  statement "MQTT-3.1.2-10", "a will is published once, and not after DISCONNECT" do
    {port, watcher, client} = watched()
    abort(client)
    assert recv(watcher) == publish("w", "gone")
    assert_receive {:ended, "C", _}
    client = connected(port, "C", 0x06, ["w", "gone"])
    send_bytes(client, <<0xE0, 0>>)
    assert_closed(client)
    assert_receive {:ended, "C", :normal}
    client = connected(port, "C")
    abort(client)
    assert_receive {:ended, "C", _}
    assert_nothing(watcher, watcher)
  end

  statement "MQTT-3.1.2-11",
            "without the Will Flag its other flags and fields close the connection" do
    port = broker()
    for flags <- [0x0A, 0x12, 0x22], do: assert_not_connected(port, connect(flags, ["C"]))
    assert_not_connected(port, connect(0x02, ["C", "w", "gone"]))
  end

  statement "MQTT-3.1.2-12", "without the Will Flag nothing is published" do
    port = broker()
    watcher = connected(port, "W") |> subscribed([{"#", 0}])
    abort(connected(port, "C"))
    assert_receive {:ended, "C", _}
    assert_nothing(watcher, watcher)
  end

  statement "MQTT-3.1.2-13", "a Will QoS without the Will Flag closes the connection" do
    port = broker()
    for flags <- [0x0A, 0x12, 0x1A], do: assert_not_connected(port, connect(flags, ["C"]))
  end

  statement "MQTT-3.1.2-14", "the Will QoS 3 closes the connection, and the others do not" do
    port = broker()
    assert_not_connected(port, connect(0x1E, ["C", "w", "gone"]))
    for flags <- [0x06, 0x0E, 0x16], do: connected(port, "C", flags, ["w", "gone"])
  end

  statement "MQTT-3.1.2-15", "Will Retain without the Will Flag closes the connection" do
    assert_not_connected(broker(), connect(0x22, ["C"]))
  end

  statement "MQTT-3.1.2-16", "with Will Retain 0 the will is not retained" do
    {port, watcher, client} = watched()
    abort(client)
    assert recv(watcher) == publish("w", "gone")
    late = connected(port, "S") |> subscribed([{"w", 0}])
    assert_nothing(late, watcher)
  end

  statement "MQTT-3.1.2-17", "with Will Retain 1 the will is retained" do
    {port, watcher, client} = watched(0x26)
    abort(client)
    assert recv(watcher) == publish("w", "gone")
    late = connected(port, "S") |> subscribed([{"w", 0}])
    assert recv(late) == publish(0x31, "w", "gone")
  end

  statement "MQTT-3.1.3-10", "a will topic that is not UTF-8 closes the connection" do
    assert_not_connected(broker(), connect(0x06, ["C", <<0xFF, 0xFE>>, "gone"]))
  end
end
