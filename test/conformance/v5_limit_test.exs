defmodule MQTT.Conformance.V5LimitTest do
  # Maximum Packet Size, Receive Maximum (section 4.9) and topic aliases.
  use MQTT.Test.Conformance, version: "5.0"

  defp receive_maximum(count), do: <<0x21, count::16>>
  defp maximum_packet_size(bytes), do: <<0x27, bytes::32>>
  defp topic_alias_maximum(count), do: <<0x22, count::16>>
  defp topic_alias(number), do: <<0x23, number::16>>

  # A publisher, and a subscriber whose CONNECT has these properties.
  defp pair(qos, properties, filter \\ "a") do
    port = broker()
    subscriber = with_session(port, "S", properties) |> subscribed([{filter, qos}])
    {port, connected(port, "P"), subscriber}
  end

  statement "MQTT-3.1.2-24", "no packet is longer than the client's Maximum Packet Size" do
    {_port, publisher, subscriber} = pair(0, maximum_packet_size(40))
    fits = publish("a", :binary.copy("x", 34))
    assert byte_size(fits) == 40
    send_bytes(publisher, [publish("a", :binary.copy("x", 35)), fits])
    assert recv(subscriber) == fits
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-3.1.2-25", "a message that is too long for the client counts as delivered" do
    properties = [receive_maximum(1), maximum_packet_size(40)]
    {port, publisher, subscriber} = pair(1, properties)
    publish_fully(publisher, "a", 1, :binary.copy("x", 40))
    publish_fully(publisher, "a", 2, "small")
    assert {:publish, 0x32, "a", id, "small", _} = recv_packet(subscriber)
    send_bytes(subscriber, <<0x40, 2, id::16>>)
    assert_open(subscriber)
    leave(subscriber, "S")

    # Also if it came while the client was gone.
    publish_fully(publisher, "a", 3, :binary.copy("x", 40))
    publish_fully(publisher, "a", 4, "small")
    subscriber = resumed(port, "S", [expiry(60), properties])
    assert {:publish, 0x32, "a", _, "small", _} = recv_packet(subscriber)
    assert_nothing(subscriber, publisher)
  end

  # Receives messages by their aliases, as a client does, and gives topics with payloads and the aliases.
  defp recv_aliased(client, count) do
    {messages, aliases} =
      Enum.map_reduce(1..count, %{}, fn _, aliases ->
        assert {:publish, 0x30, topic, nil, payload, properties} = recv_packet(client)

        case List.keyfind(properties, 0x23, 0) do
          nil -> {{topic, payload}, aliases}
          {_, number} when topic == "" -> {{Map.fetch!(aliases, number), payload}, aliases}
          {_, number} -> {{topic, payload}, Map.put(aliases, number, topic)}
        end
      end)

    {messages, Map.keys(aliases)}
  end

  defp publish_on_topics(publisher) do
    messages = for round <- 1..3, topic <- 1..5, do: {"a/topic/#{topic}", "#{round}"}
    for {topic, payload} <- messages, do: send_bytes(publisher, publish(topic, payload))
    messages
  end

  statement ["MQTT-3.1.2-26", "MQTT-3.3.2-11"],
            "the server's topic aliases are within the client's maximum" do
    for maximum <- [1, 2, 10] do
      {_port, publisher, subscriber} = pair(0, topic_alias_maximum(maximum), "#")
      messages = publish_on_topics(publisher)
      assert {^messages, aliases} = recv_aliased(subscriber, 15)
      for number <- aliases, do: assert(number in 1..maximum)
    end
  end

  statement ["MQTT-3.1.2-27", "MQTT-3.3.2-11"],
            "without a Topic Alias Maximum the server uses none, and passes none on" do
    for properties <- ["", topic_alias_maximum(0)] do
      {_port, publisher, subscriber} = pair(0, properties, "#")
      messages = publish_on_topics(publisher)
      assert {^messages, []} = recv_aliased(subscriber, 15)
      send_bytes(publisher, publish(0x30, "a", nil, "x", topic_alias(1)))
      send_bytes(publisher, publish(0x30, "", nil, "y", topic_alias(1)))
      assert recv(subscriber) == publish("a", "x")
      assert recv(subscriber) == publish("a", "y")
    end
  end

  # What the server's CONNACK says, by number.
  defp announced(port, number) do
    {client, {:connack, 0, 0, properties}} = try_connect(port, connect(0x02, ["C"]))
    {client, properties |> List.keyfind(number, 0, {number, nil}) |> elem(1)}
  end

  statement ["MQTT-3.2.2-17", "MQTT-3.3.2-9"],
            "a topic alias over the server's maximum disconnects the client" do
    port = broker(topic_alias_maximum: 3)
    assert {_, 3} = announced(port, 0x22)
    assert_disconnected(port, publish(0x30, "a", nil, "x", topic_alias(4)), [0x94])
    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-3.2.2-18",
            "with a server that has no topic aliases one disconnects the client" do
    port = broker(topic_alias_maximum: 0)
    {_, maximum} = announced(port, 0x22)
    assert maximum in [nil, 0]
    assert_disconnected(port, publish(0x30, "a", nil, "x", topic_alias(1)), [0x94])
    refute_received {:publish, _, _, _, _}
  end

  @tag :callbacks
  statement "MQTT-3.3.2-7", "a topic alias ends with the connection" do
    port = broker()
    client = with_session(port, "C")
    send_bytes(client, publish(0x30, "a", nil, "x", topic_alias(1)))
    assert_open(client)
    assert_received {:publish, "C", "a", "x", _}
    leave(client, "C")
    client = resumed(port, "C")
    send_bytes(client, publish(0x30, "", nil, "y", topic_alias(1)))
    assert_ended(client, [0x82, 0x94])
    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-3.3.2-7", "the server's too" do
    {port, publisher, subscriber} = pair(0, topic_alias_maximum(10))
    for n <- 1..3, do: send_bytes(publisher, publish("a", "#{n}"))
    assert {[{"a", "1"}, {"a", "2"}, {"a", "3"}], _} = recv_aliased(subscriber, 3)
    leave(subscriber, "S")
    subscriber = resumed(port, "S", topic_alias_maximum(10))
    send_bytes(publisher, publish("a", "4"))
    assert {[{"a", "4"}], _} = recv_aliased(subscriber, 1)
  end

  statement "MQTT-3.3.2-8", "the topic alias 0 disconnects the client" do
    assert_disconnected(broker(), publish(0x30, "a", nil, "x", topic_alias(0)), [0x94])
  end

  @tag :callbacks
  statement "MQTT-3.3.2-12", "all topic aliases up to the server's maximum are taken" do
    port = broker()
    assert {client, maximum} = announced(port, 0x22)
    assert maximum > 0

    for n <- 1..maximum,
        do: send_bytes(client, publish(0x30, "a/#{n}", nil, "set", topic_alias(n)))

    for n <- 1..maximum, do: send_bytes(client, publish(0x30, "", nil, "used", topic_alias(n)))
    # Another topic may take its place.
    send_bytes(client, publish(0x30, "b", nil, "set", topic_alias(1)))
    send_bytes(client, publish(0x30, "", nil, "used", topic_alias(1)))
    assert_open(client)

    for payload <- ["set", "used"], n <- 1..maximum do
      topic = "a/#{n}"
      assert_received {:publish, "C", ^topic, ^payload, _}
    end

    assert_received {:publish, "C", "b", "set", _}
    assert_received {:publish, "C", "b", "used", _}
  end

  statement "MQTT-3.3.4-7",
            "more open messages than the server's Receive Maximum disconnect the client" do
    port = broker(receive_maximum: 2)
    assert {client, 2} = announced(port, 0x21)

    for id <- 1..2 do
      send_bytes(client, publish(0x34, "a", id, "x"))
      assert {:pubrec, ^id, _, _} = recv_packet(client)
    end

    # One that is known is not one more.
    send_bytes(client, publish(0x3C, "a", 2, "x"))
    assert {:pubrec, 2, _, _} = recv_packet(client)
    send_bytes(client, <<0x62, 2, 0, 1>>)
    assert {:pubcomp, 1, 0, _} = recv_packet(client)
    send_bytes(client, publish(0x34, "a", 3, "x"))
    assert {:pubrec, 3, _, _} = recv_packet(client)
    send_bytes(client, publish(0x34, "a", 4, "x"))
    assert_ended(client, [0x93])
  end

  # Publishes messages 1 to count, to the end of each exchange.
  defp publish_numbers(publisher, qos, count) do
    for n <- 1..count, do: publish_fully(publisher, 0x30 + 2 * qos, "a", n, "#{n}")
  end

  defp recv_number(client, n) do
    payload = "#{n}"
    assert {:publish, _, "a", id, ^payload, _} = recv_packet(client)
    id
  end

  statement ["MQTT-3.3.4-9", "MQTT-4.9.0-1"],
            "the server has no more open messages than the client's Receive Maximum" do
    for maximum <- 1..2 do
      {_port, publisher, subscriber} = pair(1, receive_maximum(maximum))
      publish_numbers(publisher, 1, 5)
      [first | _] = for n <- 1..maximum, do: recv_number(subscriber, n)
      assert_open(subscriber)
      send_bytes(subscriber, <<0x40, 2, first::16>>)
      recv_number(subscriber, maximum + 1)
      assert_open(subscriber)
    end
  end

  statement "MQTT-4.9.0-2",
            "PUBACK, PUBCOMP and a PUBREC that fails make room, and PUBREC does not" do
    {port, publisher, subscriber} = pair(2, receive_maximum(2))
    publish_numbers(publisher, 2, 6)
    [one, two] = for n <- 1..2, do: recv_number(subscriber, n)
    send_bytes(subscriber, <<0x50, 2, one::16>>)
    assert {:pubrel, ^one, 0, _} = recv_packet(subscriber)
    assert_open(subscriber)
    send_bytes(subscriber, <<0x70, 2, one::16>>)
    three = recv_number(subscriber, 3)
    assert_open(subscriber)
    send_bytes(subscriber, <<0x50, 3, two::16, 0x80>>)
    four = recv_number(subscriber, 4)
    assert_open(subscriber)

    # A new connection has all of it.
    leave(subscriber, "S")
    subscriber = resumed(port, "S", [expiry(60), receive_maximum(3)])
    assert recv_number(subscriber, 3) == three
    assert recv_number(subscriber, 4) == four
    recv_number(subscriber, 5)
    assert_open(subscriber)
  end

  statement ["MQTT-3.3.4-10", "MQTT-4.9.0-3"],
            "with no room left everything but PUBLISH goes on" do
    {_port, publisher, subscriber} = pair(1, receive_maximum(1))
    publish_numbers(publisher, 1, 3)
    recv_number(subscriber, 1)
    assert_open(subscriber)
    subscribed(subscriber, [{"b", 1}])
    send_bytes(subscriber, unsubscribe(2, ["b"]))
    assert {:unsuback, 2, [0], _} = recv_packet(subscriber)
    assert publish_fully(subscriber, 0x32, "c", 1, "x") < 0x80
    assert publish_fully(subscriber, 0x34, "c", 1, "x") < 0x80
    assert_open(subscriber)
  end
end
