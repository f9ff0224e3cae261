defmodule MQTT.Conformance.V4QosTest do
  # Sections 4.1 to 4.6 as far as they are about sessions and QoS 1 and 2.
  use MQTT.Test.Conformance, version: "3.1.1"

  # A publisher, and a subscriber with a session.
  defp pair(qos) do
    port = broker()
    {port, connected(port, "P"), connected(port, "S", 0x00) |> subscribed([{"a", qos}])}
  end

  defp reconnected(client, port) do
    close(client)
    assert_receive {:ended, "S", _}
    resumed(port, "S")
  end

  statement "MQTT-4.1.0-1", "a session keeps subscriptions and open exchanges over connections" do
    {port, publisher, subscriber} = pair(2)
    publish_fully(publisher, 0x32, "a", 1, "one")
    publish_fully(publisher, 0x34, "a", 2, "two")
    assert {0x32, "a", one, "one"} = recv_publish(subscriber)
    assert {0x34, "a", two, "two"} = recv_publish(subscriber)
    send_bytes(subscriber, publish(0x34, "b", 7, "half"))
    assert recv(subscriber) == <<0x50, 2, 0, 7>>

    subscriber =
      for _ <- 1..3, reduce: subscriber do
        subscriber ->
          subscriber = reconnected(subscriber, port)
          assert {0x3A, "a", ^one, "one"} = recv_publish(subscriber)
          assert {0x3C, "a", ^two, "two"} = recv_publish(subscriber)
          subscriber
      end

    send_bytes(subscriber, <<0x62, 2, 0, 7>>)
    assert recv(subscriber) == <<0x70, 2, 0, 7>>
    publish_fully(publisher, 0x32, "a", 3, "three")
    assert {0x32, "a", _, "three"} = recv_publish(subscriber)
  end

  @tag :callbacks
  statement "MQTT-4.1.0-2",
            "an open exchange lasts as long as the connection, also with Clean Session 1" do
    port = broker()
    client = connected(port, "C")
    send_bytes(client, publish(0x34, "a", 1, "x"))
    assert recv(client) == <<0x50, 2, 0, 1>>
    for _ <- 1..5, do: assert_open(client)
    send_bytes(client, publish(0x3C, "a", 1, "x"))
    assert recv(client) == <<0x50, 2, 0, 1>>
    send_bytes(client, <<0x62, 2, 0, 1>>)
    assert recv(client) == <<0x70, 2, 0, 1>>
    assert_received {:publish, "C", "a", "x", _}
    refute_received {:publish, "C", "a", "x", _}
  end

  statement "MQTT-4.3.2-1",
            "a message of QoS 1 has a free identifier and DUP 0, and is open until PUBACK" do
    {port, publisher, subscriber} = pair(1)
    for n <- 1..3, do: publish_fully(publisher, 0x32, "a", n, "#{n}")
    sent = for _ <- 1..3, do: recv_publish(subscriber)
    assert [{0x32, "a", one, "1"}, {0x32, "a", two, "2"}, {0x32, "a", three, "3"}] = sent
    assert Enum.uniq([one, two, three]) == [one, two, three]
    send_bytes(subscriber, <<0x40, 2, two::16>>)
    assert_open(subscriber)
    subscriber = reconnected(subscriber, port)
    assert {0x3A, "a", ^one, "1"} = recv_publish(subscriber)
    assert {0x3A, "a", ^three, "3"} = recv_publish(subscriber)
    send_bytes(subscriber, [<<0x40, 2, one::16>>, <<0x40, 2, three::16>>])
    assert_open(subscriber)
    subscriber = reconnected(subscriber, port)
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-4.3.2-2",
            "after PUBACK the same packet identifier is a new message, also with DUP" do
    {_port, publisher, subscriber} = pair(1)
    publish_fully(publisher, 0x32, "a", 1, "one")
    publish_fully(publisher, 0x3A, "a", 1, "two")
    assert {0x32, "a", _, "one"} = recv_publish(subscriber)
    assert {0x32, "a", _, "two"} = recv_publish(subscriber)
  end

  statement "MQTT-4.3.3-1",
            "a message of QoS 2 is never sent again behind PUBREL, which is open until PUBCOMP" do
    {port, publisher, subscriber} = pair(2)
    publish_fully(publisher, 0x34, "a", 1, "x")
    assert {0x34, "a", id, "x"} = recv_publish(subscriber)
    send_bytes(subscriber, <<0x50, 2, id::16>>)
    assert recv(subscriber) == <<0x62, 2, id::16>>

    subscriber =
      for _ <- 1..2, reduce: subscriber do
        subscriber ->
          subscriber = reconnected(subscriber, port)
          assert recv(subscriber) == <<0x62, 2, id::16>>
          subscriber
      end

    # PUBREC once more is answered once more.
    send_bytes(subscriber, <<0x50, 2, id::16>>)
    assert recv(subscriber) == <<0x62, 2, id::16>>
    send_bytes(subscriber, <<0x70, 2, id::16>>)
    assert_open(subscriber)
    subscriber = reconnected(subscriber, port)
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-4.3.3-2", "repeats of a message of QoS 2 are acknowledged and not delivered" do
    {_port, publisher, subscriber} = pair(2)

    for first <- [0x34, 0x3C, 0x34, 0x3C] do
      send_bytes(publisher, publish(first, "a", 1, "one"))
      assert recv(publisher) == <<0x50, 2, 0, 1>>
    end

    send_bytes(publisher, <<0x62, 2, 0, 1>>)
    assert recv(publisher) == <<0x70, 2, 0, 1>>
    publish_fully(publisher, 0x34, "a", 1, "two")
    publish_fully(publisher, 0x3C, "a", 1, "three")

    for payload <- ["one", "two", "three"],
        do: assert({0x34, "a", _, ^payload} = recv_publish(subscriber))

    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-4.3.3-2", "also over connections of a session" do
    {port, _publisher, subscriber} = pair(2)
    client = connected(port, "C", 0x00)
    send_bytes(client, publish(0x34, "a", 1, "x"))
    assert recv(client) == <<0x50, 2, 0, 1>>
    close(client)
    assert_receive {:ended, "C", _}
    client = resumed(port, "C")
    send_bytes(client, publish(0x3C, "a", 1, "x"))
    assert recv(client) == <<0x50, 2, 0, 1>>
    send_bytes(client, <<0x62, 2, 0, 1>>)
    assert recv(client) == <<0x70, 2, 0, 1>>
    assert {0x34, "a", _, "x"} = recv_publish(subscriber)
    assert_nothing(subscriber, client)
  end

  statement "MQTT-4.4.0-1", "what was not acknowledged is sent again with its identifier" do
    {port, publisher, subscriber} = pair(2)
    publish_fully(publisher, 0x34, "a", 1, "released")
    publish_fully(publisher, 0x32, "a", 2, "one")
    publish_fully(publisher, 0x34, "a", 3, "two")
    assert {0x34, "a", released, "released"} = recv_publish(subscriber)
    assert {0x32, "a", one, "one"} = recv_publish(subscriber)
    assert {0x34, "a", two, "two"} = recv_publish(subscriber)
    send_bytes(subscriber, <<0x50, 2, released::16>>)
    assert recv(subscriber) == <<0x62, 2, released::16>>
    subscriber = reconnected(subscriber, port)

    # PUBREL and the messages may come in any order.
    packets = for _ <- 1..3, do: recv(subscriber)
    assert <<0x62, 2, released::16>> in packets
    assert publish(0x3A, "a", one, "one") in packets
    assert publish(0x3C, "a", two, "two") in packets
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-4.5.0-1", "a message comes to all subscribers, to the absent ones later" do
    port = broker()
    ids = ["S1", "S2", "S3"]

    [_, absent, _] =
      subscribers = for id <- ids, do: connected(port, id, 0x00) |> subscribed([{"a", 1}])

    close(absent)
    assert_receive {:ended, "S2", _}
    publish_fully(connected(port, "P"), "a", 1, "x")

    for {id, subscriber} <- Enum.zip(ids, subscribers) do
      subscriber = if id == "S2", do: resumed(port, id), else: subscriber
      assert {0x32, "a", _, "x"} = recv_publish(subscriber)
    end
  end

  statement ["MQTT-4.6.0-6", "MQTT-4.6.0-1"],
            "what is sent again comes in the order of the first time" do
    {port, publisher, subscriber} = pair(2)

    for n <- 1..6,
        do: publish_fully(publisher, if(rem(n, 2) == 0, do: 0x34, else: 0x32), "a", n, "#{n}")

    sent = for _ <- 1..6, do: recv_publish(subscriber)
    subscriber = reconnected(subscriber, port)

    for {first, topic, id, payload} <- sent,
        do: assert(recv_publish(subscriber) == {first + 8, topic, id, payload})
  end

  statement ["MQTT-4.6.0-6", "MQTT-4.6.0-2"], "PUBACKs come in the order of the messages" do
    {_port, publisher, _subscriber} = pair(0)
    send_bytes(publisher, for(n <- [3, 1, 2], do: publish(0x32, "a", n, "#{n}")))
    for n <- [3, 1, 2], do: assert(recv(publisher) == <<0x40, 2, n::16>>)
  end

  statement ["MQTT-4.6.0-6", "MQTT-4.6.0-3"], "PUBRECs come in the order of the messages" do
    {_port, publisher, _subscriber} = pair(0)
    send_bytes(publisher, for(n <- [3, 1, 2], do: publish(0x34, "a", n, "#{n}")))
    for n <- [3, 1, 2], do: assert(recv(publisher) == <<0x50, 2, n::16>>)
  end

  statement ["MQTT-4.6.0-6", "MQTT-4.6.0-4"], "PUBRELs come in the order of the PUBRECs" do
    {_port, publisher, subscriber} = pair(2)
    for n <- 1..3, do: publish_fully(publisher, 0x34, "a", n, "#{n}")
    [one, two, three] = for _ <- 1..3, do: recv_publish(subscriber) |> elem(2)
    for id <- [two, one, three], do: send_bytes(subscriber, <<0x50, 2, id::16>>)
    for id <- [two, one, three], do: assert(recv(subscriber) == <<0x62, 2, id::16>>)
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
    skip_to(subscriber, <<0xD0, 0>>)
    subscriber = reconnected(subscriber, port)
    for n <- 101..300, do: take(subscriber, n)
  end

  # Receives the message with this number and acknowledges it, and what else has to be answered.
  defp take(client, n) do
    case recv(client) do
      <<0x62, 2, id::16>> ->
        send_bytes(client, <<0x70, 2, id::16>>)
        take(client, n)

      <<3::4, _dup::1, qos::2, _retain::1, _length, 0, 1, "a", id::16, payload::binary>> ->
        assert payload == "#{n}"
        send_bytes(client, <<if(qos == 1, do: 0x40, else: 0x50), 2, id::16>>)
    end
  end

  defp skip_to(client, packet) do
    if recv(client) != packet, do: skip_to(client, packet)
  end
end
