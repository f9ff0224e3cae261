defmodule MQTT.Conformance.V5QosTest do
  # Sections 4.2 to 4.6: delivery and the order of messages.
  use MQTT.Test.Conformance, version: "5.0"

  # A publisher, and a subscriber with a session.
  defp pair(qos) do
    port = broker()
    {port, connected(port, "P"), with_session(port, "S") |> subscribed([{"a", qos}])}
  end

  defp reconnected(client, port) do
    leave(client, "S")
    resumed(port, "S")
  end

  # The next packet, a message with this first byte and payload; its identifier.
  defp recv_message(client, first, payload) do
    assert {:publish, ^first, "a", id, ^payload, _} = recv_packet(client)
    id
  end

  # Nobody tells when so much time has passed.
  defp pass(milliseconds), do: Process.sleep(milliseconds)

  statement "MQTT-4.2.0-1", "TCP carries bytes in order, in whatever pieces" do
    client = open(broker())
    for <<byte <- connect(0x02, ["C"])>>, do: send_bytes(client, <<byte>>)
    assert {:connack, 0, 0, _} = recv_packet(client)
    for <<byte <- subscribe(1, [{"a", 0}])>>, do: send_bytes(client, <<byte>>)
    assert {:suback, 1, [0], _} = recv_packet(client)
    large = publish("a", :binary.copy("x", 500_000))
    send_bytes(client, [large, large])
    assert recv(client) == large
    assert recv(client) == large
  end

  statement "MQTT-4.3.1-1", "the server sends QoS 0 with DUP 0" do
    {port, publisher, subscriber} = pair(0)
    send_bytes(publisher, publish(0x31, "a", "x"))
    assert recv(subscriber) == publish(0x30, "a", "x")
    late = connected(port, "S2") |> subscribed([{"a", 0}])
    assert recv(late) == publish(0x31, "a", "x")
  end

  statement ["MQTT-4.3.2-1", "MQTT-4.3.2-2"],
            "messages of QoS 1 have free identifiers and DUP 0" do
    {_port, publisher, subscriber} = pair(1)
    for n <- 1..5, do: publish_fully(publisher, 0x3A, "a", n, "#{n}")
    ids = for n <- 1..5, do: recv_message(subscriber, 0x32, "#{n}")
    assert Enum.uniq(ids) == ids
    refute 0 in ids
  end

  statement "MQTT-4.3.2-3", "a message of QoS 1 is open until PUBACK" do
    {port, publisher, subscriber} = pair(1)
    publish_fully(publisher, "a", 1, "x")
    id = recv_message(subscriber, 0x32, "x")
    subscriber = reconnected(subscriber, port)
    assert recv_message(subscriber, 0x3A, "x") == id
    send_bytes(subscriber, <<0x40, 2, id::16>>)
    assert_open(subscriber)
    assert_nothing(reconnected(subscriber, port), publisher)
  end

  statement "MQTT-4.3.2-4",
            "PUBACK has the identifier of the message, which the server has taken" do
    {port, publisher, subscriber} = pair(1)
    leave(subscriber, "S")
    send_bytes(publisher, publish(0x32, "a", 0x1234, "x"))
    assert {:puback, 0x1234, 0, _} = recv_packet(publisher)
    recv_message(resumed(port, "S"), 0x32, "x")
  end

  statement "MQTT-4.3.2-5",
            "after PUBACK the same packet identifier is a new message, also with DUP" do
    {_port, publisher, subscriber} = pair(1)
    publish_fully(publisher, 0x32, "a", 1, "one")
    publish_fully(publisher, 0x3A, "a", 1, "two")
    recv_message(subscriber, 0x32, "one")
    recv_message(subscriber, 0x32, "two")
  end

  statement ["MQTT-4.3.3-1", "MQTT-4.3.3-2"],
            "messages of QoS 2 have free identifiers and DUP 0" do
    {_port, publisher, subscriber} = pair(2)
    for n <- 1..5, do: publish_fully(publisher, 0x3C, "a", n, "#{n}")
    ids = for n <- 1..5, do: recv_message(subscriber, 0x34, "#{n}")
    assert Enum.uniq(ids) == ids
    refute 0 in ids
    # PUBREC does not free one.
    send_bytes(subscriber, <<0x50, 2, hd(ids)::16>>)
    assert {:pubrel, _, 0, _} = recv_packet(subscriber)
    publish_fully(publisher, 0x34, "a", 6, "6")
    refute recv_message(subscriber, 0x34, "6") in ids
  end

  statement "MQTT-4.3.3-3", "a message of QoS 2 is open until PUBREC" do
    {port, publisher, subscriber} = pair(2)
    publish_fully(publisher, 0x34, "a", 1, "x")
    id = recv_message(subscriber, 0x34, "x")
    subscriber = reconnected(subscriber, port)
    assert recv_message(subscriber, 0x3C, "x") == id
  end

  statement "MQTT-4.3.3-4", "PUBREC is answered with PUBREL if it does not fail" do
    {_port, publisher, subscriber} = pair(2)

    for code <- [0x00, 0x10] do
      publish_fully(publisher, 0x34, "a", 1, "x")
      id = recv_message(subscriber, 0x34, "x")
      send_bytes(subscriber, <<0x50, 3, id::16, code>>)
      assert {:pubrel, ^id, 0, _} = recv_packet(subscriber)
    end

    for code <- [0x80, 0x83, 0x87, 0x97, 0x99] do
      publish_fully(publisher, 0x34, "a", 1, "x")
      id = recv_message(subscriber, 0x34, "x")
      send_bytes(subscriber, <<0x50, 3, id::16, code>>)
      assert_open(subscriber)
    end
  end

  statement ["MQTT-4.3.3-5", "MQTT-4.3.3-6"],
            "PUBREL is open until PUBCOMP, and the message does not come again" do
    {port, publisher, subscriber} = pair(2)
    publish_fully(publisher, 0x34, "a", 1, "x")
    id = recv_message(subscriber, 0x34, "x")
    send_bytes(subscriber, <<0x50, 2, id::16>>)
    assert {:pubrel, ^id, 0, _} = recv_packet(subscriber)

    subscriber =
      for _ <- 1..2, reduce: subscriber do
        subscriber ->
          subscriber = reconnected(subscriber, port)
          assert {:pubrel, ^id, 0, _} = recv_packet(subscriber)
          subscriber
      end

    send_bytes(subscriber, <<0x70, 2, id::16>>)
    assert_open(subscriber)
    assert_nothing(reconnected(subscriber, port), publisher)
  end

  statement "MQTT-4.3.3-7", "a message of QoS 2 does not expire when it has been sent" do
    {port, publisher, subscriber} = pair(2)
    publish_fully(publisher, 0x34, "a", 1, "x", <<0x02, 1::32>>)
    id = recv_message(subscriber, 0x34, "x")
    leave(subscriber, "S")
    pass(2_000)
    subscriber = resumed(port, "S")
    assert recv_message(subscriber, 0x3C, "x") == id
    send_bytes(subscriber, <<0x50, 2, id::16>>)
    assert {:pubrel, ^id, 0, _} = recv_packet(subscriber)
  end

  statement ["MQTT-4.3.3-8", "MQTT-4.3.3-11"],
            "PUBREC and PUBCOMP have the identifier of the message" do
    {port, publisher, subscriber} = pair(2)
    leave(subscriber, "S")
    send_bytes(publisher, publish(0x34, "a", 0x1234, "x"))
    assert {:pubrec, 0x1234, 0, _} = recv_packet(publisher)
    send_bytes(publisher, <<0x62, 2, 0x12, 0x34>>)
    assert {:pubcomp, 0x1234, 0, _} = recv_packet(publisher)
    recv_message(resumed(port, "S"), 0x34, "x")
  end

  @tag :callbacks
  statement "MQTT-4.3.3-9",
            "after a PUBREC that fails the same packet identifier is a new message" do
    {_port, publisher, subscriber} = pair(2)
    assert publish_fully(publisher, 0x34, "denied/a", 1, "x") == 0x87
    assert publish_fully(publisher, 0x3C, "a", 1, "x") == 0x00
    recv_message(subscriber, 0x34, "x")
  end

  statement "MQTT-4.3.3-10", "repeats of a message of QoS 2 are acknowledged and not delivered" do
    {port, publisher, subscriber} = pair(2)
    client = with_session(port, "C")

    client =
      for first <- [0x34, 0x3C, :reconnect, 0x3C, 0x34, 0x3C], reduce: client do
        client when first == :reconnect ->
          leave(client, "C")
          resumed(port, "C")

        client ->
          send_bytes(client, publish(first, "a", 1, "x"))
          assert {:pubrec, 1, code, _} = recv_packet(client)
          assert code < 0x80
          client
      end

    send_bytes(client, <<0x62, 2, 0, 1>>)
    assert {:pubcomp, 1, 0, _} = recv_packet(client)
    recv_message(subscriber, 0x34, "x")
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-4.3.3-12",
            "after PUBCOMP the same packet identifier is a new message, also with DUP" do
    {_port, publisher, subscriber} = pair(2)
    publish_fully(publisher, 0x34, "a", 1, "one")
    publish_fully(publisher, 0x3C, "a", 1, "two")
    recv_message(subscriber, 0x34, "one")
    recv_message(subscriber, 0x34, "two")
  end

  statement "MQTT-4.3.3-13", "an exchange goes on when the message has expired" do
    {_port, publisher, _subscriber} = pair(2)
    send_bytes(publisher, publish(0x34, "a", 1, "x", <<0x02, 1::32>>))
    assert {:pubrec, 1, 0, _} = recv_packet(publisher)
    pass(2_000)
    send_bytes(publisher, <<0x62, 2, 0, 1>>)
    assert {:pubcomp, 1, 0, _} = recv_packet(publisher)
  end

  statement "MQTT-4.4.0-1",
            "what is open is sent again on a new connection, and at no other time" do
    {port, publisher, subscriber} = pair(2)
    publish_fully(publisher, 0x34, "a", 1, "released")
    publish_fully(publisher, 0x32, "a", 2, "one")
    publish_fully(publisher, 0x34, "a", 3, "two")
    released = recv_message(subscriber, 0x34, "released")
    one = recv_message(subscriber, 0x32, "one")
    two = recv_message(subscriber, 0x34, "two")
    send_bytes(subscriber, <<0x50, 2, released::16>>)
    assert {:pubrel, ^released, 0, _} = recv_packet(subscriber)
    pass(2_000)
    assert_nothing(subscriber, publisher)
    subscriber = reconnected(subscriber, port)

    # PUBREL and the messages may come in any order.
    packets = for _ <- 1..3, do: recv_packet(subscriber)
    assert {:pubrel, released, 0, []} in packets
    assert {:publish, 0x3A, "a", one, "one", []} in packets
    assert {:publish, 0x3C, "a", two, "two", []} in packets
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-4.4.0-2", "a PUBACK or PUBREC that fails ends the exchange" do
    {port, publisher, subscriber} = pair(2)
    publish_fully(publisher, 0x32, "a", 1, "one")
    publish_fully(publisher, 0x34, "a", 2, "two")
    one = recv_message(subscriber, 0x32, "one")
    two = recv_message(subscriber, 0x34, "two")
    send_bytes(subscriber, [<<0x40, 3, one::16, 0x80>>, <<0x50, 3, two::16, 0x80>>])
    assert_open(subscriber)
    assert_nothing(reconnected(subscriber, port), publisher)
  end

  statement "MQTT-4.5.0-1", "a message comes to all subscribers, to the absent ones later" do
    port = broker()
    ids = ["S1", "S2", "S3"]

    [_, absent, _] =
      subscribers = for id <- ids, do: with_session(port, id) |> subscribed([{"a", 1}])

    leave(absent, "S2")
    publish_fully(connected(port, "P"), "a", 1, "x")

    for {id, subscriber} <- Enum.zip(ids, subscribers) do
      recv_message(if(id == "S2", do: resumed(port, id), else: subscriber), 0x32, "x")
    end
  end

  statement ["MQTT-4.6.0-5", "MQTT-4.6.0-6"],
            "messages of QoS 1 come in their order, also over a reconnect" do
    assert_in_order(1)
  end

  statement ["MQTT-4.6.0-5", "MQTT-4.6.0-6"],
            "messages of QoS 2 come in their order, also over a reconnect" do
    assert_in_order(2)
  end

  defp assert_in_order(qos) do
    {port, publisher, subscriber} = pair(qos)
    for n <- 1..300, do: publish_fully(publisher, 0x30 + 2 * qos, "a", n, "#{n}")
    for n <- 1..100, do: take(subscriber, n)
    # The acknowledgements have come when this is answered.
    send_bytes(subscriber, <<0xC0, 0>>)
    skip_to(subscriber, :pingresp)
    subscriber = reconnected(subscriber, port)
    for n <- 101..300, do: take(subscriber, n)
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

  # Receives the message with this number and acknowledges it, and what else has to be answered.
  defp take(client, n) do
    case recv_packet(client) do
      {:pubrel, id, 0, _} ->
        send_bytes(client, <<0x70, 2, id::16>>)
        take(client, n)

      {:publish, first, "a", id, payload, _} ->
        assert payload == "#{n}"
        send_bytes(client, <<if(first in [0x32, 0x3A], do: 0x40, else: 0x50), 2, id::16>>)
    end
  end

  defp skip_to(client, packet) do
    if recv_packet(client) != packet, do: skip_to(client, packet)
  end
end
