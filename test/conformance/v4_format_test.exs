defmodule MQTT.Conformance.V4FormatTest do
  # Chapters 1 and 2: strings, the fixed header, packet identifiers.
  use MQTT.Test.Conformance, version: "3.1.1"

  # Every field that is a string.
  defp assert_refused(port, string) do
    assert_not_connected(port, connect(0x02, [string]))
    assert_not_connected(port, connect(0x06, ["C", string, "gone"]))
    assert_not_connected(port, connect(0x82, ["C", string]))
    assert_disconnected(port, publish(string, "x"))
    assert_disconnected(port, subscribe(1, [{string, 0}]))
    assert_disconnected(port, unsubscribe(1, [string]))
    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-1.5.3-1", "a string that is not UTF-8 closes the connection" do
    port = broker()
    surrogate = <<0xED, 0xA0, 0x80>>
    overlong = <<0xC0, 0xAF>>
    too_large = <<0xF4, 0x90, 0x80, 0x80>>

    for string <- [<<0xC3, 0x28>>, surrogate, <<0xED, 0xBF, 0xBF>>, overlong, too_large, <<0xFF>>] do
      assert_refused(port, string)
      assert_refused(port, "a" <> string <> "b")
    end
  end

  statement "MQTT-1.5.3-2", "U+0000 in a string closes the connection" do
    port = broker()
    for string <- [<<0>>, <<"a", 0>>, <<"a", 0, "b">>], do: assert_refused(port, string)
  end

  statement "MQTT-1.5.3-3", "U+FEFF is kept, at any place" do
    port = broker()
    publisher = connected(port, "P")

    for topic <- [<<0xEF, 0xBB, 0xBF, "a">>, <<"a", 0xEF, 0xBB, 0xBF>>, <<0xEF, 0xBB, 0xBF>>] do
      subscriber = connected(port, "S") |> subscribed([{topic, 0}])
      send_bytes(publisher, [publish("a", "without"), publish(topic, "with")])
      assert recv(subscriber) == publish(topic, "with")
    end
  end

  statement "MQTT-2.2.2-1", "the server's packets have the flags of their type" do
    client = connected(broker(), "C")
    send_bytes(client, [subscribe(1, [{"a", 0}]), unsubscribe(1, ["a"]), <<0xC0, 0>>])
    assert <<0x90, _::binary>> = recv(client)
    assert <<0xB0, _::binary>> = recv(client)
    assert <<0xD0, _::binary>> = recv(client)
  end

  statement "MQTT-2.2.2-1", "also in exchanges of QoS 1 and 2" do
    client = connected(broker(), "C") |> subscribed([{"a", 2}])
    send_bytes(client, publish(0x32, "b", 1, "x"))
    assert <<0x40, _::binary>> = recv(client)
    publish_fully(client, 0x34, "b", 2, "x")
    send_bytes(client, publish(0x32, "a", 3, "x"))
    packets = for _ <- 1..2, do: recv(client)
    assert [<<0x32, _::binary>>, <<0x40, _::binary>>] = Enum.sort(packets)
    publish_fully(connected(port_of(client), "P"), 0x34, "a", 4, "x")
    assert {0x34, "a", id, "x"} = recv_publish(client)
    send_bytes(client, <<0x50, 2, id::16>>)
    assert recv(client) == <<0x62, 2, id::16>>
  end

  defp port_of(client) do
    {:ok, {_, port}} = :inet.peername(client.socket)
    port
  end

  statement "MQTT-2.2.2-2", "other flags close the connection" do
    port = broker()

    for bytes <- [
          <<0xC1, 0>>,
          <<0xC8, 0>>,
          <<0xE1, 0>>,
          <<0x41, 2, 0, 1>>,
          <<0x51, 2, 0, 1>>,
          <<0x71, 2, 0, 1>>,
          <<0x60, 2, 0, 1>>,
          <<0x80, 6, 0, 1, 0, 1, "a", 0>>,
          <<0xA0, 5, 0, 1, 0, 1, "a">>
        ] do
      assert_disconnected(port, bytes)
    end

    <<0x10, connect::binary>> = connect(0x02, ["C"])
    for flags <- [1, 2, 4, 8], do: assert_not_connected(port, <<0x10 + flags, connect::binary>>)
  end

  statement "MQTT-2.3.1-1", "the packet identifier 0 closes the connection" do
    port = broker()
    assert_disconnected(port, subscribe(0, [{"a", 0}]))
    assert_disconnected(port, unsubscribe(0, ["a"]))
    assert_disconnected(port, publish(0x32, "a", 0, "x"))
    assert_disconnected(port, publish(0x34, "a", 0, "x"))
    refute_received {:publish, _, _, _, _}
  end

  statement ["MQTT-2.3.1-1", "MQTT-2.3.1-4"],
            "open messages have different packet identifiers, which they keep" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = connected(port, "S", 0x00) |> subscribed([{"a", 2}])
    for n <- 1..10, do: publish_fully(publisher, if(n < 6, do: 0x32, else: 0x34), "a", n, "#{n}")
    sent = for _ <- 1..10, do: recv_publish(subscriber)
    ids = for {_, _, id, _} <- sent, do: id
    assert Enum.uniq(ids) == ids
    refute 0 in ids
    close(subscriber)
    assert_receive {:ended, "S", _}
    subscriber = resumed(port, "S")

    for {first, topic, id, payload} <- sent,
        do: assert(recv_publish(subscriber) == {first + 8, topic, id, payload})
  end

  statement "MQTT-2.3.1-5", "a PUBLISH of QoS 0 has no packet identifier" do
    port = broker()
    subscriber = connected(port, "S") |> subscribed([{"a", 0}])
    send_bytes(connected(port, "P"), <<0x30, 4, 0, 1, "a", "x">>)
    assert recv(subscriber) == <<0x30, 4, 0, 1, "a", "x">>
  end

  statement "MQTT-2.3.1-6",
            "PUBACK, PUBREC and PUBREL have the packet identifier of the PUBLISH" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = connected(port, "S") |> subscribed([{"a", 2}])
    send_bytes(publisher, publish(0x32, "b", 0x1234, "x"))
    assert recv(publisher) == <<0x40, 2, 0x12, 0x34>>
    send_bytes(publisher, publish(0x34, "a", 0xABCD, "x"))
    assert recv(publisher) == <<0x50, 2, 0xAB, 0xCD>>
    send_bytes(publisher, <<0x62, 2, 0xAB, 0xCD>>)
    assert recv(publisher) == <<0x70, 2, 0xAB, 0xCD>>
    assert {0x34, "a", id, "x"} = recv_publish(subscriber)
    send_bytes(subscriber, <<0x50, 2, id::16>>)
    assert recv(subscriber) == <<0x62, 2, id::16>>
  end

  statement "MQTT-2.3.1-7", "SUBACK and UNSUBACK have the packet identifier of the request" do
    client = connected(broker(), "C")
    send_bytes(client, subscribe(0x1234, [{"a", 0}]))
    assert recv(client) == <<0x90, 3, 0x12, 0x34, 0>>
    send_bytes(client, unsubscribe(0xABCD, ["a"]))
    assert recv(client) == <<0xB0, 2, 0xAB, 0xCD>>
  end
end
