defmodule MQTT.Conformance.V5ConnackTest do
  # Section 3.2: CONNACK.
  use MQTT.Test.Conformance, version: "5.0"

  statement "MQTT-3.1.2-28", "Response Information comes only if it was requested" do
    port = broker([], %{response_information: "answers/"})

    for {property, expected} <- [{"", []}, {<<0x19, 0>>, []}, {<<0x19, 1>>, ["answers/"]}] do
      {_, {:connack, 0, 0, properties}} = try_connect(port, connect(0x02, ["C"], property))
      assert for({0x1A, information} <- properties, do: information) == expected
    end
  end

  statement "MQTT-3.2.0-1", "CONNACK is the first packet" do
    port = broker()
    client = open(port)
    send_bytes(client, [connect(0x02, ["C"]), <<0xC0, 0>>])
    assert {:connack, 0, 0, _} = recv_packet(client)
    assert recv(client) == <<0xD0, 0>>

    with_session(port, "S") |> subscribed([{"a", 1}]) |> leave("S")
    publish_fully(connected(port, "P"), "a", 1, "x")
    client = open(port)
    send_bytes(client, [connect(0x00, ["S"]), <<0xC0, 0>>])
    assert {:connack, 1, 0, _} = recv_packet(client)
  end

  statement "MQTT-3.2.0-2", "there is one CONNACK" do
    client = open(broker())
    send_bytes(client, [connect(0x02, ["C"]), <<0xC0, 0>>, connect(0x02, ["C"])])

    assert [{:connack, 0, 0, _}, :pingresp, {:disconnect, 0x82, _}] =
             client |> recv_all() |> packets()
  end

  statement "MQTT-3.2.2-1", "the acknowledge flags are 0 but for Session Present" do
    port = broker()
    leave(with_session(port, "C"), "C")
    assert {client, {:connack, 1, 0, _}} = try_connect(port, connect(0x00, ["C"], expiry(60)))
    leave(client, "C")
    assert {_, {:connack, 0, 0, _}} = try_connect(port, connect(0x02, ["C"]))
    assert {_, {:connack, 0, 0x85, _}} = try_connect(port, connect(0x02, ["refused"]))
  end

  statement "MQTT-3.2.2-6", "a refusal tells of no session" do
    port = broker()
    leave(with_session(port, "C"), "C")

    assert {client, {:connack, 0, 0x86, _}} =
             try_connect(port, connect(0xC0, ["C", "user", "wrong"]))

    assert_closed(client)
    assert_open(resumed(port, "C"))
  end

  statement ["MQTT-3.2.2-7", "MQTT-3.2.2-8"],
            "the connection is closed behind a refusal, whose code is one of CONNACK's" do
    port = broker()

    for connect <- [
          connect(0x02, ["refused"]),
          connect(0xC2, ["C", "user", "wrong"]),
          connect(0x82, ["C", "broken"]),
          connect(0x03, ["C"]),
          connect(0x02, ["C"], <<0x21, 0, 0>>),
          connect(0x02, ["C"], <<0x15, 0, 1, "m">>)
        ] do
      client = open(port)
      send_bytes(client, connect)

      codes = [
        0x90,
        0x95,
        0x97,
        0x99,
        0x9A,
        0x9B,
        0x9C,
        0x9D,
        0x9F,
        0x8C | Enum.to_list(0x80..0x8A)
      ]

      case client |> recv_all() |> packets() do
        [] -> :ok
        [{:connack, 0, code, _}] -> assert code in codes
      end
    end
  end

  statement "MQTT-3.2.2-9", "a server that lacks a QoS says so, and another does not" do
    for {connack, expected} <- [{%{maximum_qos: 0}, [0]}, {%{maximum_qos: 1}, [1]}, {%{}, []}] do
      connect = connect(0x02, ["C"])
      {_, {:connack, 0, 0, properties}} = try_connect(broker([], connack), connect)
      assert for({0x24, qos} <- properties, do: qos) == expected
    end
  end

  statement "MQTT-3.2.2-10", "a server that lacks a QoS takes subscriptions with it" do
    client = connected(broker([], %{maximum_qos: 0}), "C")
    send_bytes(client, subscribe(1, [{"a", 0}, {"b", 1}, {"c", 2}]))
    assert {:suback, 1, [0, 0, 0], _} = recv_packet(client)
    assert_open(client)
  end

  statement "MQTT-3.2.2-11", "a QoS that the server lacks disconnects the client" do
    port = broker([], %{maximum_qos: 1})
    assert_disconnected(port, publish(0x34, "a", 1, "x"), [0x9B])
    refute_received {:publish, _, _, _, _}
    assert publish_fully(connected(port, "P"), 0x32, "a", 1, "x") < 0x80
    port = broker([], %{maximum_qos: 0})
    assert_disconnected(port, publish(0x32, "a", 1, "x"), [0x9B])
  end

  statement "MQTT-3.2.2-12", "a Will QoS that the server lacks is refused" do
    port = broker([], %{maximum_qos: 1})
    assert_refused(port, connect(0x16, ["C", will("w", "gone")]), [0x9B])
    connected(port, "C", 0x0E, [will("w", "gone")])
  end

  statement "MQTT-3.2.2-13", "Will Retain is refused by a server that does not retain" do
    port = broker([], %{retain_available: 0})
    assert_refused(port, connect(0x26, ["C", will("w", "gone")]), [0x9A])
    connected(port, "C", 0x06, [will("w", "gone")])
  end

  statement "MQTT-3.2.2-14", "RETAIN disconnects the client of a server that does not retain" do
    port = broker([], %{retain_available: 0})
    {_, {:connack, 0, 0, properties}} = try_connect(port, connect(0x02, ["C"]))
    assert {0x25, 0} in properties
    assert_disconnected(port, publish(0x31, "a", "x"), [0x9A])
    refute_received {:publish, _, _, _, _}
  end

  @tag :callbacks
  statement "MQTT-3.2.2-15",
            "a packet over the server's Maximum Packet Size disconnects the client" do
    port = broker(max_packet_size: 64)
    {client, {:connack, 0, 0, properties}} = try_connect(port, connect(0x02, ["C"]))
    assert {0x27, 64} in properties
    largest = publish("a", :binary.copy("x", 58))
    assert byte_size(largest) == 64
    send_bytes(client, largest)
    assert_open(client)
    assert_received {:publish, "C", "a", _, _}
    assert_disconnected(port, publish("a", :binary.copy("x", 59)), [0x95])
  end

  statement "MQTT-3.2.2-16", "an assigned client identifier is no other session's" do
    port = broker()

    ids =
      for _ <- 1..20 do
        {client, {:connack, 0, 0, properties}} =
          try_connect(port, connect(0x02, [""], expiry(60)))

        assert [id] = for({0x12, id} <- properties, do: id)
        leave(client, id)
        id
      end

    assert Enum.uniq(ids) == ids
  end

  statement ["MQTT-3.1.2-21", "MQTT-3.2.2-21"],
            "the Server Keep Alive counts in place of the client's" do
    port = broker([], %{server_keep_alive: 1})
    {client, {:connack, 0, 0, properties}} = try_connect(port, connect(0x02, ["C"]))
    assert {0x13, 1} in properties
    since = System.monotonic_time(:millisecond)
    assert_ended(client, [0x8D])
    assert (System.monotonic_time(:millisecond) - since) in 1_000..2_500
  end
end
