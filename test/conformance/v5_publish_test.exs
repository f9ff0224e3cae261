defmodule MQTT.Conformance.V5PublishTest do
  # Section 3.3: PUBLISH, but for topic aliases and Receive Maximum.
  use MQTT.Test.Conformance, version: "5.0"

  # A handler that sends a copy for each of two subscriptions.
  defmodule Copies do
    use MQTT.Server

    @impl true
    def init(_args, _params), do: {:ok, []}

    @impl true
    def handle_subscribe(_filter, qos, %{subscription_identifier: id}, ids),
      do: {:ok, qos, [id | ids]}

    @impl true
    def handle_publish(topic, message, _opts, ids) do
      copies =
        for id <- ids,
            do: {:publish, topic, message, %{properties: %{subscription_identifier: [id]}}}

      {:ok, ids, copies}
    end
  end

  # A publisher, and a subscriber to a topic.
  defp pair(filter, options, properties \\ "") do
    port = broker()

    {port, connected(port, "P"),
     with_session(port, "S") |> subscribed([{filter, options}], properties)}
  end

  # What the publisher has sent is handled.
  defp handled(publisher, count) do
    assert_open(publisher)
    for _ <- 1..count, do: assert_receive({:publish, "P", _, _, _})
  end

  # Nobody tells when so much time has passed.
  defp pass(milliseconds), do: Process.sleep(milliseconds)

  statement "MQTT-3.3.1-1", "what is sent again has DUP 1" do
    {port, publisher, subscriber} = pair("a", 2)
    publish_fully(publisher, 0x32, "a", 1, "one")
    publish_fully(publisher, 0x34, "a", 2, "two")
    assert {:publish, 0x32, "a", one, "one", _} = recv_packet(subscriber)
    assert {:publish, 0x34, "a", two, "two", _} = recv_packet(subscriber)
    leave(subscriber, "S")
    subscriber = resumed(port, "S")
    assert {:publish, 0x3A, "a", ^one, "one", _} = recv_packet(subscriber)
    assert {:publish, 0x3C, "a", ^two, "two", _} = recv_packet(subscriber)
  end

  statement "MQTT-3.3.1-2", "DUP 1 at QoS 0 closes the connection" do
    port = broker()
    assert_disconnected(port, publish(0x38, "a", "x"), [0x81, 0x82])
    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-3.3.1-2", "at QoS 0 the server sends DUP 0" do
    {_port, publisher, subscriber} = pair("a", 0)
    publish_fully(publisher, 0x3A, "a", 1, "x")
    assert recv(subscriber) == publish(0x30, "a", "x")
  end

  statement "MQTT-3.3.1-3", "the DUP of the publisher is not passed on" do
    {_port, publisher, subscriber} = pair("a", 2)
    publish_fully(publisher, 0x3A, "a", 1, "one")
    publish_fully(publisher, 0x3C, "a", 2, "two")
    assert {:publish, 0x32, "a", _, "one", _} = recv_packet(subscriber)
    assert {:publish, 0x34, "a", _, "two", _} = recv_packet(subscriber)
  end

  statement "MQTT-3.3.1-4", "QoS 3 closes the connection" do
    port = broker()

    for first <- [0x36, 0x37, 0x3E, 0x3F],
        do: assert_disconnected(port, publish(first, "a", 1, "x"), [0x81])

    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-3.3.1-5", "a message to retain takes the place of the one before it" do
    port = broker()
    publisher = connected(port, "P")
    publish_fully(publisher, 0x33, "a", 1, "old")
    publish_fully(publisher, 0x33, "a", 1, "new")
    subscriber = connected(port, "S") |> subscribed([{"a", 2}])
    assert {:publish, 0x33, "a", _, "new", _} = recv_packet(subscriber)
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-3.3.1-6",
            "a message to retain with no payload is delivered, and removes the one retained" do
    {port, publisher, subscriber} = pair("a", 0)
    send_bytes(publisher, [publish(0x31, "a", "kept"), publish(0x31, "a", "")])
    assert recv(subscriber) == publish(0x30, "a", "kept")
    assert recv(subscriber) == publish(0x30, "a", "")
    late = connected(port, "S2") |> subscribed([{"a", 0}])
    assert_nothing(late, publisher)
  end

  statement "MQTT-3.3.1-7", "a message with no payload is not retained" do
    {port, publisher, subscriber} = pair("a", 0)
    send_bytes(publisher, publish(0x31, "a", ""))
    assert recv(subscriber) == publish(0x30, "a", "")
    late = connected(port, "S2") |> subscribed([{"a", 0}])
    assert_nothing(late, publisher)
  end

  statement "MQTT-3.3.1-8", "a message with RETAIN 0 leaves the one retained" do
    {port, publisher, subscriber} = pair("#", 0)
    send_bytes(publisher, [publish(0x31, "a", "old"), publish("a", "new"), publish("b", "new")])
    for _ <- 1..3, do: assert({:publish, 0x30, _, nil, _, _} = recv_packet(subscriber))
    late = connected(port, "S2") |> subscribed([{"#", 0}])
    assert recv(late) == publish(0x31, "a", "old")
    assert_nothing(late, publisher)
  end

  # A client for whose filter something is retained.
  defp retained do
    port = broker()
    publisher = connected(port, "P")
    send_bytes(publisher, publish(0x31, "a", "kept"))
    handled(publisher, 1)
    {publisher, connected(port, "S")}
  end

  @tag :callbacks
  statement "MQTT-3.3.1-9", "with Retain Handling 0 each SUBSCRIBE gets what is retained" do
    {publisher, subscriber} = retained()

    for _ <- 1..2 do
      subscribed(subscriber, [{"a", 0x01}])
      assert recv(subscriber) == publish(0x31, "a", "kept")
    end

    assert_nothing(subscriber, publisher)
  end

  @tag :callbacks
  statement "MQTT-3.3.1-10",
            "with Retain Handling 1 only a new subscription gets what is retained" do
    {publisher, subscriber} = retained()
    subscribed(subscriber, [{"a", 0x11}])
    assert recv(subscriber) == publish(0x31, "a", "kept")
    subscribed(subscriber, [{"a", 0x11}])
    assert_nothing(subscriber, publisher)
    send_bytes(subscriber, unsubscribe(2, ["a"]))
    assert {:unsuback, 2, [0], _} = recv_packet(subscriber)
    subscribed(subscriber, [{"a", 0x11}])
    assert recv(subscriber) == publish(0x31, "a", "kept")
  end

  @tag :callbacks
  statement "MQTT-3.3.1-11", "with Retain Handling 2 nothing retained comes" do
    {publisher, subscriber} = retained()
    subscribed(subscriber, [{"a", 0x21}])
    assert_nothing(subscriber, publisher)
    send_bytes(publisher, publish("a", "live"))
    assert recv(subscriber) == publish("a", "live")
  end

  statement "MQTT-3.3.1-12", "without Retain As Published a message comes with RETAIN 0" do
    {_port, publisher, subscriber} = pair("a", 0x01)
    publish_fully(publisher, 0x33, "a", 1, "x")
    assert {:publish, 0x32, "a", _, "x", _} = recv_packet(subscriber)
  end

  statement "MQTT-3.3.1-13",
            "with Retain As Published a message comes with the publisher's RETAIN" do
    {port, publisher, subscriber} = pair("a", 0x09)

    numbers = fn subscriber ->
      assert {:publish, 0x33, "a", one, "one", _} = recv_packet(subscriber)
      assert {:publish, 0x32, "a", two, "two", _} = recv_packet(subscriber)
      send_bytes(subscriber, [<<0x40, 2, one::16>>, <<0x40, 2, two::16>>])
      assert_open(subscriber)
    end

    publish_fully(publisher, 0x33, "a", 1, "one")
    publish_fully(publisher, 0x32, "a", 1, "two")
    numbers.(subscriber)
    leave(subscriber, "S")
    publish_fully(publisher, 0x33, "a", 1, "one")
    publish_fully(publisher, 0x32, "a", 1, "two")
    numbers.(resumed(port, "S"))
  end

  statement "MQTT-3.3.2-1",
            "the topic name comes first; one that is not UTF-8 closes the connection" do
    {port, publisher, subscriber} = pair("ä/€/𝄞", 0)
    send_bytes(publisher, publish("ä/€/𝄞", "x"))
    assert recv(subscriber) == <<0x30, 15, 0, 11, "ä/€/𝄞", 0, "x">>
    assert_disconnected(port, publish(<<0xFF, 0xFE>>, "x"), [0x81])
    refute_received {:publish, "broken", _, _, _}
  end

  statement "MQTT-3.3.2-2", "a topic name with a wildcard closes the connection" do
    port = broker()

    for topic <- ["a/+", "a/#", "+", "#", "a+", "#/a"],
        do: assert_disconnected(port, publish(topic, "x"), [0x81, 0x82, 0x90])

    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-3.3.2-3", "what is delivered matches the filter" do
    {_port, publisher, subscriber} = pair("a/+/c", 0)

    for topic <- ["a/b/d", "a/c", "a/b/b/c", "a/b/c", "b/b/c"],
        do: send_bytes(publisher, publish(topic, "x"))

    assert recv(subscriber) == publish("a/b/c", "x")
    assert_nothing(subscriber, publisher)
  end

  # The properties come to all subscribers, be they there, absent, or later than the message, and with a
  # will.
  defp assert_passed_on(properties) do
    port = broker()
    publisher = connected(port, "P")
    live = connected(port, "S1") |> subscribed([{"a", 1}])
    with_session(port, "S2") |> subscribed([{"a", 1}]) |> leave("S2")
    publish_fully(publisher, 0x33, "a", 1, "x", properties)

    late = connected(port, "S3") |> subscribed([{"a", 1}])
    expected = taken_apart(properties)
    assert {:publish, 0x32, "a", _, "x", ^expected} = recv_packet(live)
    assert {:publish, 0x32, "a", _, "x", ^expected} = recv_packet(resumed(port, "S2"))
    assert {:publish, 0x33, "a", _, "x", ^expected} = recv_packet(late)

    watcher = connected(port, "W") |> subscribed([{"w", 0}])
    abort(connected(port, "C", 0x06, [will("w", "gone", properties)]))
    assert recv(watcher) == publish(0x30, "w", nil, "gone", properties)
  end

  defp taken_apart(properties) do
    [{:publish, _, _, _, _, properties}] = packets(publish(0x30, "a", nil, "x", properties))
    properties
  end

  statement "MQTT-3.3.2-4", "the Payload Format Indicator is passed on" do
    assert_passed_on(<<0x01, 1>>)
    assert_passed_on("")
    {_port, publisher, subscriber} = pair("a", 0)
    send_bytes(publisher, publish(0x30, "a", nil, "x", <<0x01, 0>>))
    # 0 is what its absence means.
    assert {:publish, 0x30, "a", nil, "x", properties} = recv_packet(subscriber)
    assert properties in [[], [{0x01, 0}]]
  end

  defp expires_in(seconds), do: <<0x02, seconds::32>>

  statement "MQTT-3.3.2-5", "a message that has expired is not delivered" do
    {port, publisher, subscriber} = pair("a", 1)
    leave(subscriber, "S")
    publish_fully(publisher, 0x33, "a", 1, "short", expires_in(1))
    publish_fully(publisher, 0x32, "a", 1, "long", expires_in(60))
    pass(2_000)
    subscriber = resumed(port, "S")
    assert {:publish, 0x32, "a", _, "long", _} = recv_packet(subscriber)
    assert_nothing(subscriber, publisher)
    # Nor as what is retained.
    late = connected(port, "S2") |> subscribed([{"a", 1}])
    assert_nothing(late, publisher)
  end

  statement "MQTT-3.3.2-6", "the Message Expiry Interval is what is left of it" do
    {port, publisher, subscriber} = pair("a", 1)
    publish_fully(publisher, 0x33, "a", 1, "x", expires_in(60))
    assert {:publish, 0x32, "a", id, "x", [{0x02, left}]} = recv_packet(subscriber)
    assert left in 59..60
    send_bytes(subscriber, <<0x40, 2, id::16>>)
    assert_open(subscriber)
    leave(subscriber, "S")
    publish_fully(publisher, 0x33, "a", 1, "y", expires_in(60))
    pass(2_000)
    assert {:publish, 0x32, "a", _, "y", [{0x02, left}]} = recv_packet(resumed(port, "S"))
    assert left in 50..58
    late = connected(port, "S2") |> subscribed([{"a", 1}])
    assert {:publish, 0x33, "a", _, "y", [{0x02, left}]} = recv_packet(late)
    assert left in 50..58
  end

  statement "MQTT-3.3.2-13", "a Response Topic that is not UTF-8 closes the connection" do
    property = <<0x08, 0, 2, 0xFF, 0xFE>>
    assert_disconnected(broker(), publish(0x30, "a", nil, "x", property), [0x81])
    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-3.3.2-14", "a Response Topic with a wildcard closes the connection" do
    port = broker()

    for topic <- ["a/#", "+", "a/+/b"] do
      property = <<0x08, string(topic)::binary>>
      assert_disconnected(port, publish(0x30, "a", nil, "x", property), [0x81, 0x82, 0x90])
      assert_refused(port, connect(0x06, ["C", will("w", "gone", property)]), [0x81, 0x82, 0x90])
    end

    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-3.3.2-15", "the Response Topic is passed on" do
    assert_passed_on(<<0x08, 0, 3, "r/1">>)
  end

  statement "MQTT-3.3.2-16", "the Correlation Data is passed on" do
    assert_passed_on(<<0x09, 0, 3, 0, 0xFF, 1>>)
  end

  statement "MQTT-3.3.2-17", "all user properties are passed on" do
    assert_passed_on([user_property("a", "1"), user_property("a", "1"), user_property("", "")])
  end

  statement "MQTT-3.3.2-18", "the user properties keep their order" do
    assert_passed_on(
      for {name, value} <- [{"c", "1"}, {"a", "2"}, {"b", "3"}, {"a", "4"}],
          do: user_property(name, value)
    )
  end

  statement "MQTT-3.3.2-19", "a Content Type that is not UTF-8 closes the connection" do
    property = <<0x03, 0, 2, 0xFF, 0xFE>>
    assert_disconnected(broker(), publish(0x30, "a", nil, "x", property), [0x81])
    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-3.3.2-20", "the Content Type is passed on" do
    assert_passed_on(<<0x03, 0, 3, "x/y">>)
  end

  statement "MQTT-3.3.4-1", "QoS 0 is not answered, QoS 1 with PUBACK, QoS 2 with PUBREC" do
    client = connected(broker(), "C")
    send_bytes(client, [publish("a", "x"), <<0xC0, 0>>])
    assert recv(client) == <<0xD0, 0>>
    send_bytes(client, publish(0x32, "a", 1, "x"))
    # 0x10 is no matching subscribers.
    assert {:puback, 1, code, _} = recv_packet(client)
    assert code in [0, 0x10]
    send_bytes(client, publish(0x34, "a", 2, "x"))
    assert {:pubrec, 2, code, _} = recv_packet(client)
    assert code in [0, 0x10]
  end

  statement "MQTT-3.3.4-2", "of subscriptions that overlap the best QoS counts" do
    {_port, publisher, subscriber} = pair("a/#", 0)
    subscribed(subscriber, [{"a/+", 2}, {"a/b", 1}])
    publish_fully(publisher, 0x34, "a/b", 1, "x")
    # The broker of these tests sends one copy for all of them.
    assert {:publish, 0x34, "a/b", _, "x", _} = recv_packet(subscriber)
    assert_nothing(subscriber, publisher)
  end

  statement ["MQTT-3.3.4-3", "MQTT-3.3.4-4"],
            "one copy has the Subscription Identifiers of all that match" do
    {_port, publisher, subscriber} = pair("a/#", 1, <<0x0B, 7>>)
    subscribed(subscriber, [{"a/+", 1}], <<0x0B, 0xFF, 0xFF, 0xFF, 0x7F>>)
    subscribed(subscriber, [{"b/+", 1}], <<0x0B, 8>>)
    subscribed(subscriber, [{"a/b", 1}])
    publish_fully(publisher, 0x33, "a/b", 1, "x")
    assert {:publish, 0x32, "a/b", _, "x", identifiers} = recv_packet(subscriber)
    assert Enum.sort(identifiers) == [{0x0B, 7}, {0x0B, 268_435_455}]
    assert_nothing(subscriber, publisher)
    # And what is retained has that of the subscription it comes for.
    subscribed(subscriber, [{"+/b", 1}], <<0x0B, 9>>)
    assert {:publish, 0x33, "a/b", _, "x", [{0x0B, 9}]} = recv_packet(subscriber)
  end

  statement "MQTT-3.3.4-5", "several copies have a Subscription Identifier each" do
    server = [transport: :listener, module: Copies, args: nil]
    client = server |> MQTT.Test.Acceptor.start() |> connected("C")
    subscribed(client, [{"a/#", 0}], <<0x0B, 7>>)
    subscribed(client, [{"a/+", 0}], <<0x0B, 9>>)
    send_bytes(client, publish("a/b", "x"))
    copies = for _ <- 1..2, do: recv(client)

    assert Enum.sort(copies) ==
             for(id <- [7, 9], do: publish(0x30, "a/b", nil, "x", <<0x0B, id>>))
  end

  statement "MQTT-3.3.4-6", "a Subscription Identifier in a client's PUBLISH disconnects it" do
    assert_disconnected(broker(), publish(0x30, "a", nil, "x", <<0x0B, 1>>), [0x82])
    refute_received {:publish, _, _, _, _}
  end
end
