defmodule MQTT.Conformance.V5ConnectTest do
  # Section 3.1: CONNECT, but for sessions, the will and authentication methods.
  use MQTT.Test.Conformance, version: "5.0"

  statement "MQTT-3.1.0-1",
            "a first packet that is not CONNECT closes the connection without a word" do
    port = broker()
    auth = reason(0xF0, 0x18, <<0x15, string("m")::binary>>)

    for bytes <- [<<0xC0, 0>>, publish("a", "x"), subscribe(1, [{"a", 0}]), auth, <<0xE0, 0>>] do
      assert_refused(port, bytes, [])
      assert_refused(port, [bytes, connect(0x02, ["C"])], [])
    end

    refute_received {:init, _, _}
    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-3.1.0-2", "a second CONNECT disconnects the client" do
    assert_disconnected(broker(), connect(0x02, ["C"]), [0x82])
  end

  statement "MQTT-3.1.2-1", "another protocol name closes the connection" do
    port = broker()

    for name <- ["MQTX", "mqtt", "MQTTT", ""] do
      bytes = packet(0x10, [string(name), <<5, 2, 0, 60, 0>>, string("C")])
      assert_refused(port, bytes, [0x84])
    end

    refute_received {:init, _, _}
  end

  statement "MQTT-3.1.2-2", "another protocol version closes the connection" do
    port = broker()

    for version <- [0, 6, 0x7F, 0xFF] do
      client = open(port)
      send_bytes(client, packet(0x10, [string("MQTT"), <<version, 2, 0, 60, 0>>, string("C")]))
      # The CONNACK of a version that the server has, if any.
      assert recv_all(client) in ["", <<0x20, 3, 0, 0x84, 0>>, <<0x20, 2, 0, 1>>]
    end

    refute_received {:init, _, _}
  end

  statement "MQTT-3.1.2-3", "the reserved connect flag closes the connection" do
    port = broker()
    assert_refused(port, connect(0x03, ["C"]), [0x81])
    assert_refused(port, connect(0x01, ["C"]), [0x81])
  end

  statement "MQTT-3.1.2-16", "without the User Name Flag a user name closes the connection" do
    assert_refused(broker(), connect(0x02, ["C", "user"]), [0x81])
  end

  statement "MQTT-3.1.2-17",
            "with the User Name Flag a missing user name closes the connection" do
    assert_refused(broker(), connect(0x82, ["C"]), [0x81])
  end

  statement "MQTT-3.1.2-18", "without the Password Flag a password closes the connection" do
    assert_refused(broker(), connect(0x82, ["C", "user", "password"]), [0x81])
  end

  statement "MQTT-3.1.2-19", "with the Password Flag a missing password closes the connection" do
    port = broker()
    assert_refused(port, connect(0xC2, ["C", "user"]), [0x81])
    assert_refused(port, connect(0x42, ["C"]), [0x81])
  end

  statement "MQTT-3.1.2-19", "a password comes without a user name, too" do
    connected(broker(), "C", 0x42, ["password"])
    assert_received {:init, "C", %{password: "password"} = params}
    refute Map.has_key?(params, :username)
  end

  statement ["MQTT-3.1.2-22", "MQTT-3.2.2-22"],
            "one and a half times the Keep Alive without a packet is a failure" do
    port = broker()
    watcher = connected(port, "W") |> subscribed([{"w", 0}])
    {client, connack} = try_connect(port, connect(0x06, ["C", will("w", "gone")], "", 1))
    assert {:connack, 0, 0, properties} = connack
    refute List.keymember?(properties, 0x13, 0)
    since = System.monotonic_time(:millisecond)
    assert_ended(client, [0x8D])
    # The Keep Alive is a second; the upper bound has some slack.
    assert (System.monotonic_time(:millisecond) - since) in 1_000..2_500
    assert recv(watcher) == publish("w", "gone")
    assert_received {:ended, "C", {:shutdown, :keep_alive_timeout}}
  end

  statement "MQTT-3.1.3-1", "the fields of the payload come in their order" do
    port = broker()
    watcher = connected(port, "W") |> subscribed([{"w", 0}])
    will = will("w", "gone", <<0x03, 0, 4, "type">>)
    client = connected(port, "C", 0xC6, [will, "user", "password"])
    assert_received {:init, "C", %{client_id: "C", username: "user", password: "password"}}
    abort(client)
    assert recv(watcher) == publish(0x30, "w", nil, "gone", <<0x03, 0, 4, "type">>)
  end

  statement "MQTT-3.1.3-3", "a missing client identifier closes the connection" do
    port = broker()
    assert_refused(port, connect(0x02, []), [0x81])
    assert_refused(port, connect(0x06, [will("w", "gone")]), [0x81])
  end

  statement "MQTT-3.1.3-4", "a client identifier that is not UTF-8 closes the connection" do
    assert_refused(broker(), connect(0x02, [<<0xC3, 0x28>>]), [0x81, 0x85])
  end

  statement "MQTT-3.1.3-5", "client identifiers of 1 to 23 digits and letters are taken" do
    port = broker()
    longest = ["0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ0123456"]
    for id <- ["z", "A", "0" | longest], do: assert_open(connected(port, id))
  end

  # What the server calls a client that did not say.
  defp assigned(port, properties \\ "") do
    {client, {:connack, 0, 0, connack}} = try_connect(port, connect(0x02, [""], properties))
    assert [id] = for({0x12, id} <- connack, do: id)
    {client, id}
  end

  statement "MQTT-3.1.3-6", "a client without an identifier gets a unique one" do
    port = broker()
    clients = for _ <- 1..3, do: assigned(port)
    assert [_, _, _] = Enum.uniq_by(clients, &elem(&1, 1))
    for {client, _} <- clients, do: assert_open(client)
  end

  statement "MQTT-3.1.3-7",
            "the identifier that was assigned is as good as one the client chose" do
    port = broker()
    {client, id} = assigned(port, expiry(60))
    assert_received {:init, ^id, %{client_id: ^id}}
    subscribed(client, [{"a", 1}])
    leave(client, id)
    publish_fully(connected(port, "P"), "a", 1, "x")
    assert {:publish, 0x32, "a", _, "x", _} = recv_packet(resumed(port, id))
  end

  statement "MQTT-3.1.3-8", "a handler refuses a client identifier" do
    assert {client, {:connack, 0, 0x85, _}} = try_connect(broker(), connect(0x02, ["refused"]))
    assert_closed(client)
  end

  statement "MQTT-3.1.3-12", "a user name that is not UTF-8 closes the connection" do
    assert_refused(broker(), connect(0x82, ["C", <<0xFF, 0xFE>>]), [0x81])
  end

  statement "MQTT-3.1.4-1", "a CONNECT that is not well formed closes the connection" do
    port = broker()
    start = <<0, 4, "MQTT", 5, 2, 0, 60>>

    for bytes <- [
          # Bytes behind the payload, and too few of them.
          connect(0x02, ["C"], "", 60, "x"),
          packet(0x10, [start, <<0, 0, 2, "C">>]),
          packet(0x10, [<<0, 255, "MQTT", 5, 2, 0, 60, 0, 0, 1, "C">>]),
          packet(0x10, [start]),
          packet(0x10, []),
          # Properties beyond the end, twice, unknown, and of other packets.
          packet(0x10, [start, <<5, 0x11, 0, 0>>]),
          connect(0x02, ["C"], [expiry(1), expiry(1)]),
          connect(0x02, ["C"], <<0x7F, 0>>),
          connect(0x02, ["C"], <<0x23, 0, 1>>),
          connect(0x06, ["C", will("w", "gone", <<0x11, 1::32>>)]),
          # Values that they cannot have.
          connect(0x02, ["C"], <<0x21, 0, 0>>),
          connect(0x02, ["C"], <<0x27, 0::32>>),
          connect(0x02, ["C"], <<0x17, 2>>),
          connect(0x02, ["C"], <<0x19, 2>>),
          connect(0x02, ["C"], <<0x16, 0, 1, "x">>)
        ] do
      assert_refused(port, bytes, [0x81, 0x82])
    end

    refute_received {:init, _, _}
  end

  statement "MQTT-3.1.4-2", "a client that fails a check of the handler is not connected" do
    port = broker()

    assert {client, {:connack, 0, 0x86, _}} =
             try_connect(port, connect(0xC2, ["C", "user", "wrong"]))

    assert_closed(client)
  end

  statement "MQTT-3.1.4-3", "a client that connects again is disconnected where it was" do
    port = broker()
    first = with_session(port, "C")
    second = resumed(port, "C")
    assert_ended(first, [0x8E])
    assert_open(second)
    third = connected(port, "C")
    assert_ended(second, [0x8E])
    assert_open(third)
  end

  statement "MQTT-3.1.4-5", "a valid CONNECT is acknowledged with 0x00" do
    client = open(broker())
    send_bytes(client, <<0x10, 14, 0, 4, "MQTT", 5, 2, 0, 60, 0, 0, 1, "C">>)
    assert {:connack, 0, 0, _} = recv_packet(client)
  end

  statement "MQTT-3.1.4-6", "what comes behind a refused CONNECT is not handled" do
    port = broker()
    watcher = connected(port, "W") |> subscribed([{"#", 0}])

    for connect <- [
          connect(0x02, ["refused"]),
          connect(0xC2, ["C", "user", "wrong"]),
          connect(0x02, ["C"], <<0x21, 0, 0>>)
        ] do
      bytes = [connect, publish(0x31, "kept", "x"), subscribe(1, [{"a", 0}])]
      assert_refused(port, bytes, [0x81, 0x82, 0x85, 0x86])
    end

    assert_nothing(watcher, watcher)
    refute_received {:publish, _, "kept", _, _}
    late = connected(port, "S") |> subscribed([{"kept", 0}])
    assert_nothing(late, late)
  end
end
