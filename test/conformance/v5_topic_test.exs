defmodule MQTT.Conformance.V5TopicTest do
  # Sections 4.7 and 4.8: topic names, topic filters, shared subscriptions.
  use MQTT.Test.Conformance, version: "5.0"

  # Invalid filters close the connection here; SUBACK with 0x8F would do as well.
  defp assert_not_granted(port, filters) do
    for filter <- filters,
        do: assert_disconnected(port, subscribe(1, [{filter, 0}]), [0x81, 0x82, 0x8F])
  end

  statement "MQTT-4.7.0-1", "wildcards are for filters, and not for topic names" do
    port = broker()
    connected(port, "S") |> subscribed([{"a/+", 0}, {"a/#", 0}])

    for topic <- ["a/+", "a/#", "+/a"] do
      assert_disconnected(port, publish(topic, "x"), [0x81, 0x82, 0x90])
      assert_refused(port, connect(0x06, ["C", will(topic, "gone")]), [0x81, 0x82, 0x90])
      property = <<0x08, string(topic)::binary>>
      assert_disconnected(port, publish(0x30, "a", nil, "x", property), [0x81, 0x82, 0x90])
    end

    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-4.7.1-1", "# stands alone in the last level" do
    port = broker()
    assert_not_granted(port, ["a#", "a/#/b", "#/a", "a/b#", "##", "#a", "a/+#"])
    connected(port, "S") |> subscribed([{"#", 0}, {"a/#", 0}, {"+/#", 0}, {"/#", 0}])
  end

  statement "MQTT-4.7.1-2", "+ fills a level" do
    port = broker()
    assert_not_granted(port, ["a+", "+a/b", "a/b+/c", "++", "a/+b", "+#"])

    connected(port, "S")
    |> subscribed([{"+", 0}, {"+/a", 0}, {"a/+", 0}, {"a/+/b", 0}, {"/+", 0}])
  end

  statement "MQTT-4.7.2-1",
            "a filter that begins with a wildcard matches no topic that begins with $" do
    port = broker()
    publisher = connected(port, "P")
    filters = [{"#", 0}, {"+/x", 0}, {"+/#", 0}, {"$share/g/#", 0}]
    subscriber = connected(port, "S") |> subscribed(filters)
    send_bytes(publisher, publish("$T/x", "x"))
    send_bytes(subscriber, unsubscribe(2, ["#", "+/#", "$share/g/#"]))
    assert {:unsuback, 2, [0, 0, 0], _} = recv_packet(subscriber)
    assert_nothing(subscriber, publisher)

    for filter <- ["$T/x", "$T/#", "$T/+", "$share/g/$T/#"] do
      subscriber = connected(port, "S") |> subscribed([{filter, 0}])
      send_bytes(publisher, publish("$T/x", "x"))
      assert recv(subscriber) == publish("$T/x", "x")
    end
  end

  statement "MQTT-4.7.3-1", "topic names and filters have a character at least" do
    port = broker()
    assert_disconnected(port, publish("", "x"), [0x82, 0x90])
    assert_not_granted(port, [""])
    assert_disconnected(port, unsubscribe(1, [""]), [0x81, 0x82, 0x8F])
    assert_refused(port, connect(0x06, ["C", will("", "gone")]), [0x81, 0x82, 0x90])
    client = connected(port, "C") |> subscribed([{"/", 0}])
    send_bytes(client, publish("/", "x"))
    assert recv(client) == publish("/", "x")
  end

  statement "MQTT-4.7.3-2", "topic names and filters have no U+0000" do
    port = broker()
    assert_disconnected(port, publish(<<"a", 0>>, "x"), [0x81])
    assert_not_granted(port, [<<"a", 0>>, <<0>>])
    assert_disconnected(port, unsubscribe(1, [<<"a", 0>>]), [0x81])
    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-4.7.3-3", "topic names and filters may have 65,535 bytes" do
    longest = :binary.copy("a", 65_535)
    client = connected(broker(), "C") |> subscribed([{longest, 0}])
    send_bytes(client, publish(longest, "x"))
    assert recv(client) == publish(longest, "x")
    send_bytes(client, unsubscribe(2, [longest]))
    assert {:unsuback, 2, [0], _} = recv_packet(client)
  end

  statement "MQTT-4.7.3-4", "topics are compared as they are" do
    port = broker()
    publisher = connected(port, "P")

    # Two forms of é, and what differs in case or in an empty level.
    topics = [
      <<0xC3, 0xA9>>,
      <<0x65, 0xCC, 0x81>>,
      "a",
      "A",
      "/a",
      "a/",
      "a//b",
      "a/b",
      "a b",
      " a"
    ]

    for topic <- topics do
      subscriber = connected(port, "S") |> subscribed([{topic, 0}])
      for topic <- topics, do: send_bytes(publisher, publish(topic, "x"))
      assert recv(subscriber) == publish(topic, "x")
      assert_nothing(subscriber, publisher)
    end
  end

  # A publisher, and members of a group, each with the QoS that is granted to it.
  defp group(granted, properties \\ "") do
    port = broker()

    members =
      for {qos, n} <- Enum.with_index(granted, 1) do
        with_session(port, "S#{n}", properties)
        |> subscribed([{"$share/g/a", qos}, {"behind", 0}])
      end

    {port, connected(port, "P"), members}
  end

  # Who of the members has a message waiting, and what: each gets one of its own behind it.
  defp received(members, publisher) do
    send_bytes(publisher, publish("behind", "x"))
    for member <- members, do: until_behind(member)
  end

  defp until_behind(member) do
    case recv_packet(member) do
      {:publish, 0x30, "behind", nil, "x", _} -> []
      packet -> [packet | until_behind(member)]
    end
  end

  statement "MQTT-4.8.2-1",
            "a share name has a character at least, and its group gets each message once" do
    assert_not_granted(broker(), ["$share//a", "$share/"])
    {_port, publisher, members} = group([0, 0, 0])
    for n <- 1..9, do: send_bytes(publisher, publish("a", "#{n}"))
    got = members |> received(publisher) |> Enum.concat()
    payloads = for {:publish, 0x30, "a", nil, payload, _} <- got, do: payload
    assert Enum.sort(payloads) == for(n <- 1..9, do: "#{n}")
  end

  statement "MQTT-4.8.2-2", "a share name has no wildcard, and a filter follows it" do
    assert_not_granted(broker(), [
      "$share/g",
      "$share/g/",
      "$share/g+/a",
      "$share/#/a",
      "$share/+/a",
      "$share/g#/a"
    ])
  end

  statement "MQTT-4.8.2-3", "a member gets messages at the QoS that was granted to it" do
    {_port, publisher, members} = group([0, 1, 2])
    for n <- 1..9, do: publish_fully(publisher, 0x34, "a", n, "#{n}")

    for {got, qos} <- members |> received(publisher) |> Enum.with_index() do
      first = 0x30 + 2 * qos
      assert got != []
      for packet <- got, do: assert({:publish, ^first, "a", _, _, _} = packet)
    end
  end

  # A message of QoS 1 or 2 to the group; the member who got it, its number, the identifier, and the others.
  defp chosen(publisher, members, qos) do
    publish_fully(publisher, 0x30 + 2 * qos, "a", 1, "x")
    first = 0x30 + 2 * qos
    got = received(members, publisher)
    assert [{:publish, ^first, "a", id, "x", _}] = Enum.concat(got)
    index = Enum.find_index(got, &(&1 != []))
    {member, others} = List.pop_at(members, index)
    {member, "S#{index + 1}", id, others}
  end

  statement "MQTT-4.8.2-4", "a message of QoS 2 that a member has begun is completed with it" do
    {port, publisher, members} = group([2, 2, 2])
    {member, name, id, others} = chosen(publisher, members, 2)
    send_bytes(member, <<0x50, 2, id::16>>)
    assert {:pubrel, ^id, 0, _} = recv_packet(member)
    leave(member, name)
    assert received(others, publisher) == [[], []]
    member = resumed(port, name)
    assert {:pubrel, ^id, 0, _} = recv_packet(member)
    send_bytes(member, <<0x70, 2, id::16>>)
    assert received(others, publisher) == [[], []]
  end

  statement "MQTT-4.8.2-5",
            "a message of QoS 2 that a member has begun goes to no other when its session ends" do
    port = broker()

    members =
      for n <- 1..3 do
        connected(port, "S#{n}", 0x02, [], expiry(1))
        |> subscribed([{"$share/g/a", 2}, {"behind", 0}])
      end

    publisher = connected(port, "P")
    {member, name, _id, others} = chosen(publisher, members, 2)
    leave(member, name)
    # Nobody tells when the session has expired.
    Process.sleep(2_000)
    assert received(others, publisher) == [[], []]
  end

  statement "MQTT-4.8.2-6", "a message that a member refuses goes to no other" do
    for {qos, refusal} <- [{1, 0x40}, {2, 0x50}] do
      {_port, publisher, members} = group([2, 2, 2])
      {member, _name, id, others} = chosen(publisher, members, qos)
      send_bytes(member, <<refusal, 3, id::16, 0x80>>)
      assert_open(member)
      assert received(others, publisher) == [[], []]
    end
  end
end
