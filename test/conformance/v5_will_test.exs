defmodule MQTT.Conformance.V5WillTest do
  # Section 3.1: the will.
  use MQTT.Test.Conformance, version: "5.0"

  # A client with a will, which somebody watches.
  defp watched(flags \\ 0x06, will_properties \\ "", properties \\ "") do
    port = broker()
    watcher = connected(port, "W") |> subscribed([{"w", 0}])
    will = will("w", "gone", will_properties)
    {port, watcher, connected(port, "C", flags, [will], properties)}
  end

  defp delay(seconds), do: <<0x18, seconds::32>>

  defp milliseconds(function) do
    {microseconds, _} = :timer.tc(function)
    div(microseconds, 1_000)
  end

  statement ["MQTT-3.1.2-7", "MQTT-3.1.2-8"],
            "the will of a client whose connection broke is published" do
    {_port, watcher, client} = watched()
    abort(client)
    assert recv(watcher) == publish("w", "gone")
  end

  statement "MQTT-3.1.2-8", "the will of a client that broke the protocol is published" do
    {_port, watcher, client} = watched()
    send_bytes(client, <<0x20, 3, 0, 0, 0>>)
    assert recv(watcher) == publish("w", "gone")
  end

  statement "MQTT-3.1.2-8", "the will comes after the Will Delay Interval" do
    {_port, watcher, client} = watched(0x06, delay(1), expiry(60))
    abort(client)
    assert milliseconds(fn -> assert recv(watcher) == publish("w", "gone") end) in 900..2_500
  end

  statement "MQTT-3.1.2-8", "the will comes when the session ends, if that is before" do
    {_port, watcher, client} = watched(0x06, delay(60), expiry(1))
    abort(client)
    assert milliseconds(fn -> assert recv(watcher) == publish("w", "gone") end) in 900..2_500
    {_port, watcher, client} = watched(0x06, delay(60))
    abort(client)
    assert recv(watcher) == publish("w", "gone")
  end

  statement "MQTT-3.1.2-8", "the will comes when a new connection ends the session" do
    {port, watcher, client} = watched(0x06, delay(60), expiry(60))
    leave(client, "C")
    connected(port, "C")
    assert recv(watcher) == publish("w", "gone")
  end

  statement "MQTT-3.1.2-9", "with the Will Flag a missing will closes the connection" do
    port = broker()
    assert_refused(port, connect(0x06, ["C"]), [0x81])
    assert_refused(port, connect(0x06, ["C", [<<0>>, string("w")]]), [0x81])
    # Without the length of its properties.
    assert_refused(port, connect(0x06, ["C", "w", "gone"]), [0x81])
  end

  statement "MQTT-3.1.2-10", "a will is published once, and not after DISCONNECT" do
    {port, watcher, client} = watched(0x06, "", expiry(60))
    abort(client)
    assert recv(watcher) == publish("w", "gone")
    assert_receive {:ended, "C", _}
    # The session goes on, without the will.
    client = resumed(port, "C")
    abort(client)
    assert_receive {:ended, "C", _}
    client = connected(port, "C", 0x06, [will("w", "gone")])
    send_bytes(client, <<0xE0, 0>>)
    assert_closed(client)
    assert_receive {:ended, "C", :normal}
    assert_nothing(watcher, watcher)
  end

  statement "MQTT-3.1.2-11", "a Will QoS without the Will Flag closes the connection" do
    port = broker()
    for flags <- [0x0A, 0x12, 0x1A], do: assert_refused(port, connect(flags, ["C"]), [0x81])
  end

  statement "MQTT-3.1.2-12", "the Will QoS 3 closes the connection, and the others do not" do
    port = broker()
    assert_refused(port, connect(0x1E, ["C", will("w", "gone")]), [0x81])
    for flags <- [0x06, 0x0E, 0x16], do: connected(port, "C", flags, [will("w", "gone")])
  end

  statement "MQTT-3.1.2-13", "Will Retain without the Will Flag closes the connection" do
    assert_refused(broker(), connect(0x22, ["C"]), [0x81])
  end

  statement "MQTT-3.1.2-14", "with Will Retain 0 the will is not retained" do
    {port, watcher, client} = watched()
    abort(client)
    assert recv(watcher) == publish("w", "gone")
    late = connected(port, "S") |> subscribed([{"w", 0}])
    assert_nothing(late, watcher)
  end

  statement "MQTT-3.1.2-15", "with Will Retain 1 the will is retained" do
    {port, watcher, client} = watched(0x26)
    abort(client)
    assert recv(watcher) == publish("w", "gone")
    late = connected(port, "S") |> subscribed([{"w", 0}])
    assert recv(late) == publish(0x31, "w", "gone")
  end

  statement "MQTT-3.1.3-9",
            "a client that is back within the Will Delay Interval has no will published" do
    {port, watcher, client} = watched(0x06, delay(1), expiry(60))
    leave(client, "C")
    client = resumed(port, "C")
    # Nobody tells that nothing will come: longer than the interval.
    Process.sleep(1_500)
    assert_nothing(watcher, watcher)
    assert_open(client)
  end

  statement "MQTT-3.1.3-10", "the will's user properties keep their order" do
    properties =
      for {name, value} <- [{"a", "1"}, {"b", "2"}, {"a", "3"}], do: user_property(name, value)

    {_port, watcher, client} = watched(0x06, properties)
    abort(client)
    assert recv(watcher) == publish(0x30, "w", nil, "gone", properties)
  end

  statement "MQTT-3.1.3-11", "a will topic that is not UTF-8 closes the connection" do
    assert_refused(broker(), connect(0x06, ["C", will(<<0xFF, 0xFE>>, "gone")]), [0x81])
  end
end
