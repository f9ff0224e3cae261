defmodule MQTT.Conformance.V5FormatTest do
  # Chapters 1 and 2: strings, integers, the fixed header, packet identifiers, properties.
  use MQTT.Test.Conformance, version: "5.0"

  # A handler that publishes a thousand messages at once.
  defmodule Burst do
    use MQTT.Server

    @impl true
    def init(_args, _params), do: {:ok, nil}

    @impl true
    def handle_publish("burst", _message, _opts, state),
      do: {:ok, state, for(_ <- 1..1_000, do: {:publish, "a", "x", %{qos: 1}})}
  end

  # Every field that is a string.
  defp assert_string_refused(port, string) do
    assert_refused(port, connect(0x02, [string]), [0x81, 0x85])
    assert_refused(port, connect(0x82, ["C", string]), [0x81])
    assert_refused(port, connect(0x06, ["C", will(string, "gone")]), [0x81])

    assert_refused(
      port,
      connect(0x06, ["C", will("w", "gone", <<0x03, string(string)::binary>>)]),
      [0x81]
    )

    assert_refused(port, connect(0x02, ["C"], user_property("name", string)), [0x81])
    assert_disconnected(port, publish(string, "x"), [0x81])

    assert_disconnected(port, publish(0x30, "a", nil, "x", <<0x03, string(string)::binary>>), [
      0x81
    ])

    assert_disconnected(port, publish(0x30, "a", nil, "x", <<0x08, string(string)::binary>>), [
      0x81
    ])

    assert_disconnected(port, publish(0x30, "a", nil, "x", user_property(string, "value")), [0x81])

    assert_disconnected(port, subscribe(1, [{string, 0}]), [0x81])
    assert_disconnected(port, unsubscribe(1, [string]), [0x81])
    assert_disconnected(port, reason(0xE0, 0x80, <<0x1F, string(string)::binary>>), [0x81])
    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-1.5.4-1", "a string that is not UTF-8 closes the connection" do
    port = broker()
    surrogates = [<<0xED, 0xA0, 0x80>>, <<0xED, 0xBF, 0xBF>>]
    overlong = <<0xC0, 0xAF>>
    too_large = <<0xF4, 0x90, 0x80, 0x80>>

    for string <- [<<0xC3, 0x28>>, overlong, too_large | surrogates],
        do: assert_string_refused(port, "a" <> string)
  end

  statement "MQTT-1.5.4-2", "U+0000 in a string closes the connection" do
    port = broker()
    for string <- [<<0>>, <<"a", 0>>, <<"a", 0, "b">>], do: assert_string_refused(port, string)
  end

  statement "MQTT-1.5.4-3", "U+FEFF is kept, at any place" do
    port = broker()
    publisher = connected(port, "P")

    for topic <- [<<0xEF, 0xBB, 0xBF, "a">>, <<"a", 0xEF, 0xBB, 0xBF>>, <<0xEF, 0xBB, 0xBF>>] do
      subscriber = connected(port, "S") |> subscribed([{topic, 0}])
      send_bytes(publisher, [publish("a", "without"), publish(topic, "with")])
      assert recv(subscriber) == publish(topic, "with")
    end
  end

  statement "MQTT-1.5.5-1", "a variable byte integer that is too long closes the connection" do
    port = broker()
    assert_disconnected(port, <<0xC0, 0x80, 0>>, [0x81])
    # A property length.
    assert_disconnected(port, <<0x30, 6, 0, 1, "a", 0x80, 0, "x">>, [0x81])
    # A Subscription Identifier.
    assert_disconnected(port, <<0x82, 10, 0, 1, 3, 0x0B, 0x81, 0, 0, 1, "a", 0>>, [0x81])
    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-1.5.5-1", "the server's are as short as can be" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = connected(port, "S") |> subscribed([{"a", 0}])

    for remaining_length <- [127, 128, 16_383, 16_384] do
      message = publish("a", :binary.copy("x", remaining_length - 4))
      send_bytes(publisher, message)
      assert recv(subscriber) == message
    end

    for property_length <- [127, 128, 16_383, 16_384] do
      property = user_property("", :binary.copy("x", property_length - 5))
      message = publish(0x30, "a", nil, "x", property)
      send_bytes(publisher, message)
      assert recv(subscriber) == message
    end
  end

  statement "MQTT-1.5.7-1", "a string pair of which either is not UTF-8 closes the connection" do
    port = broker()

    for property <- [user_property(<<0xFF>>, "value"), user_property("name", <<0xFF>>)] do
      assert_refused(port, connect(0x02, ["C"], property), [0x81])
      assert_disconnected(port, publish(0x30, "a", nil, "x", property), [0x81])
      assert_disconnected(port, subscribe(1, [{"a", 0}], property), [0x81])
    end

    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-2.1.3-1", "other flags close the connection" do
    port = broker()

    for bytes <- [
          <<0xC1, 0>>,
          <<0xC8, 0>>,
          <<0xE1, 0>>,
          <<0x41, 2, 0, 1>>,
          <<0x51, 2, 0, 1>>,
          <<0x71, 2, 0, 1>>,
          <<0x60, 2, 0, 1>>,
          <<0x80, 7, 0, 1, 0, 0, 1, "a", 0>>,
          <<0xA0, 6, 0, 1, 0, 0, 1, "a">>
        ] do
      assert_disconnected(port, bytes, [0x81])
    end

    <<0x10, connect::binary>> = connect(0x02, ["C"])
    for flags <- [1, 2, 4, 8], do: assert_refused(port, <<0x10 + flags, connect::binary>>, [0x81])
  end

  statement "MQTT-2.1.3-1", "the server's packets have the flags of their type" do
    port = broker()
    publisher = connected(port, "P")
    # Taking them apart looks at the flags.
    client = connected(port, "C") |> subscribed([{"a", 2}])
    for first <- [0x32, 0x34], do: publish_fully(publisher, first, "a", 1, "x")
    assert {:publish, 0x32, "a", _, "x", _} = recv_packet(client)
    assert {:publish, 0x34, "a", id, "x", _} = recv_packet(client)
    send_bytes(client, <<0x50, 2, id::16>>)
    assert {:pubrel, ^id, 0, _} = recv_packet(client)
    send_bytes(client, [unsubscribe(1, ["a"]), <<0xC0, 0>>])
    assert {:unsuback, 1, [0], _} = recv_packet(client)
    assert recv(client) == <<0xD0, 0>>
  end

  statement "MQTT-2.2.1-2", "a PUBLISH of QoS 0 has no packet identifier" do
    port = broker()
    subscriber = connected(port, "S") |> subscribed([{"a", 0}])
    send_bytes(connected(port, "P"), <<0x30, 5, 0, 1, "a", 0, "x">>)
    assert recv(subscriber) == <<0x30, 5, 0, 1, "a", 0, "x">>
  end

  statement "MQTT-2.2.1-3", "the packet identifier 0 closes the connection" do
    port = broker()

    for bytes <- [
          subscribe(0, [{"a", 0}]),
          unsubscribe(0, ["a"]),
          publish(0x32, "a", 0, "x"),
          publish(0x34, "a", 0, "x")
        ] do
      assert_disconnected(port, bytes, [0x81, 0x82])
    end

    refute_received {:publish, _, _, _, _}
  end

  @tag timeout: 120_000
  statement "MQTT-2.2.1-4", "an identifier in use is passed over, also after 65,535 messages" do
    server = [transport: :listener, module: Burst, args: nil]
    client = server |> MQTT.Test.Acceptor.start() |> connected("C")
    send_bytes(client, publish("burst", ""))
    assert {:publish, 0x32, "a", held, "x", []} = recv_packet(client)
    acknowledge(client, 999, held)

    for _ <- 1..66 do
      send_bytes(client, publish("burst", ""))
      acknowledge(client, 1_000, held)
    end
  end

  defp acknowledge(client, count, held) do
    for _ <- 1..count do
      <<0x32, 7, 0, 1, "a", id::16, 0, "x">> = recv(client)
      assert id not in [0, held]
      send_bytes(client, <<0x40, 2, id::16>>)
    end
  end

  statement "MQTT-2.2.1-5", "the acknowledgements have the packet identifier of the PUBLISH" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = connected(port, "S") |> subscribed([{"a", 2}])
    send_bytes(publisher, publish(0x32, "a", 0x1234, "x"))
    assert {:puback, 0x1234, 0, _} = recv_packet(publisher)
    send_bytes(publisher, publish(0x34, "a", 0xABCD, "x"))
    assert {:pubrec, 0xABCD, 0, _} = recv_packet(publisher)
    send_bytes(publisher, <<0x62, 2, 0xAB, 0xCD>>)
    assert {:pubcomp, 0xABCD, 0, _} = recv_packet(publisher)
    assert {:publish, 0x32, "a", _, "x", _} = recv_packet(subscriber)
    assert {:publish, 0x34, "a", id, "x", _} = recv_packet(subscriber)
    send_bytes(subscriber, <<0x50, 2, id::16>>)
    assert {:pubrel, ^id, 0, _} = recv_packet(subscriber)
  end

  statement "MQTT-2.2.1-6", "SUBACK and UNSUBACK have the packet identifier of the request" do
    client = connected(broker(), "C")
    send_bytes(client, subscribe(0x1234, [{"a", 0}]))
    assert recv(client) == <<0x90, 4, 0x12, 0x34, 0, 0>>
    send_bytes(client, unsubscribe(0xABCD, ["a"]))
    assert recv(client) == <<0xB0, 4, 0xAB, 0xCD, 0, 0>>
  end

  statement "MQTT-2.2.2-1", "without properties there is a property length of 0" do
    port = broker()
    subscriber = connected(port, "S") |> subscribed([{"a", 1}])
    publisher = connected(port, "P")
    send_bytes(publisher, publish("a", "x"))
    assert recv(subscriber) == <<0x30, 5, 0, 1, "a", 0, "x">>
    publish_fully(publisher, "a", 1, "x")
    assert <<0x32, 7, 0, 1, "a", _::16, 0, "x">> = recv(subscriber)
  end

  statement "MQTT-2.2.2-1", "a CONNECT without one closes the connection" do
    bytes = packet(0x10, [string("MQTT"), <<5, 2, 0, 60>>, string("C")])
    assert_refused(broker(), bytes, [0x81])
  end
end
