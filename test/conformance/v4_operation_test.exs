defmodule MQTT.Conformance.V4OperationTest do
  # Sections 3.12 to 3.14, and chapters 4, 6 and 7 but for topics and QoS 1 and 2.
  use MQTT.Test.Conformance, version: "3.1.1"

  statement "MQTT-3.12.4-1", "PINGREQ is answered" do
    client = connected(broker(), "C")
    send_bytes(client, <<0xC0, 0>>)
    assert recv(client) == <<0xD0, 0>>
  end

  statement "MQTT-3.14.1-1", "DISCONNECT with flags is an error" do
    port = broker()
    watcher = connected(port, "W") |> subscribed([{"w", 0}])

    for first <- [0xE1, 0xE2, 0xE4, 0xE8] do
      client = connected(port, "C", 0x06, ["w", "gone"])
      send_bytes(client, <<first, 0>>)
      assert_closed(client)
      assert recv(watcher) == publish("w", "gone")
    end
  end

  statement "MQTT-3.14.4-2", "what comes behind DISCONNECT is not handled" do
    port = broker()
    watcher = connected(port, "W") |> subscribed([{"#", 0}])
    client = connected(port, "C")
    send_bytes(client, [publish("a", "before"), <<0xE0, 0>>, publish("a", "behind")])
    assert recv(watcher) == publish("a", "before")
    assert_closed(client)
    assert_receive {:ended, "C", :normal}
    assert_nothing(watcher, watcher)
  end

  statement "MQTT-3.14.4-3", "the will is not published after DISCONNECT" do
    port = broker()
    watcher = connected(port, "W") |> subscribed([{"w", 0}])
    client = connected(port, "C", 0x06, ["w", "gone"])
    send_bytes(client, <<0xE0, 0>>)
    assert_closed(client)
    assert_receive {:ended, "C", :normal}
    assert_nothing(watcher, watcher)
  end

  statement "MQTT-4.1.0-2", "the session lasts at least as long as the connection" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = connected(port, "S") |> subscribed([{"a", 0}])
    for _ <- 1..5, do: assert_open(subscriber)
    send_bytes(publisher, publish("a", "x"))
    assert recv(subscriber) == publish("a", "x")
  end

  statement "MQTT-4.3.1-1", "the server sends QoS 0 with DUP 0" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = connected(port, "S") |> subscribed([{"a", 0}])
    send_bytes(publisher, publish(0x31, "a", "x"))
    assert <<0x30, _::binary>> = recv(subscriber)
    subscribed(subscriber, [{"b", 0}])
    send_bytes(subscriber, subscribe(2, [{"a", 0}]))
    packets = for _ <- 1..2, do: recv(subscriber)
    assert [<<0x31, _::binary>>, <<0x90, _::binary>>] = Enum.sort(packets)
  end

  statement ["MQTT-4.6.0-5", "MQTT-4.6.0-6"],
            "messages of QoS 0 come in their order, on any topic" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = connected(port, "S") |> subscribed([{"a/+", 0}])
    messages = for n <- 1..1_000, do: publish("a/#{rem(n, 3)}", "#{n}")
    send_bytes(publisher, messages)
    assert Enum.map(messages, fn _ -> recv(subscriber) end) == messages
  end

  statement "MQTT-4.8.0-1", "a violation of the protocol closes its connection, and no other" do
    port = broker()
    other = connected(port, "other")

    for bytes <- [
          <<0x00, 0>>,
          <<0xF0, 0>>,
          <<0x20, 2, 0, 0>>,
          <<0x90, 3, 0, 1, 0>>,
          <<0xB0, 2, 0, 1>>,
          <<0xD0, 0>>,
          <<0x50, 3, 0, 1, 0>>,
          <<0xC0, 1, 0>>,
          <<0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01>>
        ] do
      assert_disconnected(port, bytes)
    end

    assert_open(other)
  end

  @tag :callbacks
  statement "MQTT-4.8.0-2", "an error in the handler closes the connection of the packet" do
    port = broker()
    other = connected(port, "other")
    assert_disconnected(port, publish("raise", "x"))
    assert_open(other)
  end

  @tag :callbacks
  statement "MQTT-4.8.0-2", "and the packet is not acknowledged" do
    port = broker()
    assert_disconnected(port, publish(0x32, "raise", 1, "x"))
    assert_disconnected(port, publish(0x34, "raise", 1, "x"))
  end

  statement "MQTT-7.0.0-2", "a client needs nothing but what the specification has" do
    client = open(broker())
    send_bytes(client, <<0x10, 12, 0, 4, "MQTT", 4, 2, 0, 0, 0, 0>>)
    assert recv(client) == <<0x20, 2, 0, 0>>
    send_bytes(client, <<0x82, 6, 0, 1, 0, 1, "a", 0>>)
    assert recv(client) == <<0x90, 3, 0, 1, 0>>
    send_bytes(client, <<0x30, 4, 0, 1, "a", "x">>)
    assert recv(client) == <<0x30, 4, 0, 1, "a", "x">>
    send_bytes(client, <<0xA2, 5, 0, 2, 0, 1, "a">>)
    assert recv(client) == <<0xB0, 2, 0, 2>>
    send_bytes(client, <<0xC0, 0>>)
    assert recv(client) == <<0xD0, 0>>
    send_bytes(client, <<0xE0, 0>>)
    assert_closed(client)
  end

  statement "MQTT-7.1.1-1", "TCP carries bytes in order, in whatever pieces" do
    port = broker()
    client = open(port)
    for <<byte <- connect(0x02, ["C"])>>, do: send_bytes(client, <<byte>>)
    assert recv(client) == <<0x20, 2, 0, 0>>
    for <<byte <- subscribe(1, [{"a", 0}])>>, do: send_bytes(client, <<byte>>)
    assert recv(client) == <<0x90, 3, 0, 1, 0>>
    large = publish("a", :binary.copy("x", 500_000))
    send_bytes(client, [large, large])
    assert recv(client) == large
    assert recv(client) == large
  end
end
