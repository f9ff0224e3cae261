defmodule MQTT.Conformance.V4ConnectTest do
  # Section 3.1: CONNECT, but for the will.
  use MQTT.Test.Conformance, version: "3.1.1"

  statement "MQTT-3.1.0-1", "a first packet that is not CONNECT closes the connection" do
    port = broker()

    for bytes <- [<<0xC0, 0>>, publish("a", "x"), subscribe(1, [{"a", 0}]), <<0xE0, 0>>] do
      assert_not_connected(port, bytes)
      assert_not_connected(port, [bytes, connect(0x02, ["C"])])
    end

    refute_received {:init, _, _}
    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-3.1.0-2", "a second CONNECT disconnects the client" do
    port = broker()
    watcher = connected(port, "W") |> subscribed([{"w", 0}])
    client = connected(port, "C", 0x06, ["w", "gone"])
    send_bytes(client, connect(0x02, ["C"]))
    assert_closed(client)
    assert recv(watcher) == publish("w", "gone")
  end

  statement "MQTT-3.1.2-1", "another protocol name closes the connection" do
    port = broker()

    for name <- ["MQTX", "mqtt", "MQTTT", "", "HTTP"], level <- [3, 4] do
      bytes = packet(0x10, [string(name), <<level, 2, 0, 60>>, string("C")])
      assert_not_connected(port, bytes)
    end

    refute_received {:init, _, _}
  end

  statement "MQTT-3.1.2-2", "another protocol level is refused with 0x01" do
    port = broker()

    for level <- [0, 1, 2, 6, 0x7F, 0xFF] do
      connect = packet(0x10, [string("MQTT"), <<level, 2, 0, 60>>, string("C")])
      assert {client, <<0x20, 2, 0, 1>>} = try_connect(port, connect)
      assert_closed(client)
    end
  end

  statement "MQTT-3.1.2-3", "the reserved connect flag closes the connection" do
    port = broker()
    assert_not_connected(port, connect(0x03, ["C"]))
    assert_not_connected(port, connect(0x01, ["C"]))
  end

  statement "MQTT-3.1.2-18", "without the User Name Flag a user name closes the connection" do
    assert_not_connected(broker(), connect(0x02, ["C", "user"]))
  end

  statement "MQTT-3.1.2-19",
            "with the User Name Flag a missing user name closes the connection" do
    assert_not_connected(broker(), connect(0x82, ["C"]))
  end

  statement "MQTT-3.1.2-20", "without the Password Flag a password closes the connection" do
    assert_not_connected(broker(), connect(0x82, ["C", "user", "password"]))
  end

  statement "MQTT-3.1.2-21", "with the Password Flag a missing password closes the connection" do
    assert_not_connected(broker(), connect(0xC2, ["C", "user"]))
  end

  statement "MQTT-3.1.2-22",
            "the Password Flag without the User Name Flag closes the connection" do
    assert_not_connected(broker(), connect(0x42, ["C", "password"]))
    assert_not_connected(broker(), connect(0x42, ["C", "user", "password"]))
  end

  statement "MQTT-3.1.2-24",
            "one and a half times the Keep Alive without a packet is a failure" do
    port = broker()
    watcher = connected(port, "W") |> subscribed([{"w", 0}])
    {client, <<0x20, 2, 0, 0>>} = try_connect(port, connect(0x06, ["C", "w", "gone"], 1))
    since = System.monotonic_time(:millisecond)
    assert_closed(client)
    # The Keep Alive is a second; the upper bound has some slack.
    assert (System.monotonic_time(:millisecond) - since) in 1_000..2_500
    assert recv(watcher) == publish("w", "gone")
    assert_received {:ended, "C", {:shutdown, :keep_alive_timeout}}
  end

  statement "MQTT-3.1.3-1", "the fields of the payload come in their order" do
    port = broker()
    watcher = connected(port, "W") |> subscribed([{"w", 0}])
    client = connected(port, "C", 0xC6, ["w", "gone", "user", "password"])
    assert_received {:init, "C", %{client_id: "C", username: "user", password: "password"}}
    abort(client)
    assert recv(watcher) == publish("w", "gone")
  end

  statement "MQTT-3.1.3-2", "each client identifier has its own session" do
    port = broker()

    for id <- ["S1", "S2"] do
      subscriber = connected(port, id, 0x00) |> subscribed([{"for/#{id}", 1}])
      close(subscriber)
      assert_receive {:ended, ^id, _}
    end

    publisher = connected(port, "P")
    publish_fully(publisher, "for/S1", 1, "one")
    publish_fully(publisher, "for/S2", 2, "two")
    one = resumed(port, "S1")
    two = resumed(port, "S2")
    assert {0x32, "for/S1", _, "one"} = recv_publish(one)
    assert {0x32, "for/S2", _, "two"} = recv_publish(two)
    assert_nothing(one, publisher)
    assert_nothing(two, publisher)
  end

  statement "MQTT-3.1.3-3", "a missing client identifier closes the connection" do
    port = broker()
    assert_not_connected(port, connect(0x02, []))
    # The will's fields do not stand in for it.
    assert_not_connected(port, connect(0x06, ["w", "gone"]))
  end

  statement "MQTT-3.1.3-4", "a client identifier that is not UTF-8 closes the connection" do
    assert_not_connected(broker(), connect(0x02, [<<0xC3, 0x28>>]))
  end

  statement "MQTT-3.1.3-5", "client identifiers of 1 to 23 digits and letters are taken" do
    port = broker()
    longest = ["0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ0123456"]
    for id <- ["z", "A", "0" | longest], do: assert_open(connected(port, id))
  end

  statement "MQTT-3.1.3-6", "clients without an identifier are told apart" do
    port = broker()
    clients = for _ <- 1..3, do: connected(port, "")
    for client <- clients, do: assert_open(client)
    [first | others] = for client <- clients, do: subscribed(client, [{"a", 0}])
    send_bytes(first, publish("a", "x"))
    for client <- [first | others], do: assert(recv(client) == publish("a", "x"))
  end

  statement ["MQTT-3.1.3-7", "MQTT-3.1.3-8"],
            "an empty client identifier with Clean Session 0 is refused with 0x02" do
    assert {client, <<0x20, 2, 0, 2>>} = try_connect(broker(), connect(0x00, [""]))
    assert_closed(client)
    refute_received {:init, _, _}
  end

  statement "MQTT-3.1.3-9", "a handler refuses a client identifier with 0x02" do
    assert {client, <<0x20, 2, 0, 2>>} = try_connect(broker(), connect(0x02, ["refused"]))
    assert_closed(client)
  end

  statement "MQTT-3.1.3-11", "a user name that is not UTF-8 closes the connection" do
    assert_not_connected(broker(), connect(0x82, ["C", <<0xFF, 0xFE>>]))
  end

  statement "MQTT-3.1.4-1",
            "a CONNECT that is not well formed closes the connection without CONNACK" do
    port = broker()
    bytes_behind = connect(0x02, ["C"], 60, "x")
    string_too_long = packet(0x10, [<<0, 4, "MQTT", 4, 2, 0, 60, 0, 2, "C">>])
    name_too_long = packet(0x10, [<<0, 255, "MQTT", 4, 2, 0, 60, 0, 1, "C">>])
    nothing_behind_level = packet(0x10, [<<0, 4, "MQTT", 4>>])
    nothing = packet(0x10, [])

    for bytes <- [bytes_behind, string_too_long, name_too_long, nothing_behind_level, nothing] do
      assert_not_connected(port, bytes)
    end

    refute_received {:init, _, _}
  end

  statement "MQTT-3.1.4-2", "a client that connects again is disconnected where it was" do
    port = broker()
    first = connected(port, "C")
    second = connected(port, "C")
    assert_closed(first)
    assert_open(second)
  end

  statement "MQTT-3.1.4-2", "a client with a session, too, which goes on" do
    port = broker()
    first = connected(port, "C", 0x00) |> subscribed([{"a", 0}])
    second = resumed(port, "C")
    assert_closed(first)
    send_bytes(second, publish("a", "x"))
    assert recv(second) == publish("a", "x")
  end

  statement "MQTT-3.1.4-4", "a valid CONNECT is acknowledged with 0x00" do
    client = open(broker())
    send_bytes(client, <<0x10, 13, 0, 4, "MQTT", 4, 2, 0, 60, 0, 1, "C">>)
    assert recv(client) == <<0x20, 2, 0, 0>>
  end

  statement "MQTT-3.1.4-5", "what comes behind a refused CONNECT is not handled" do
    port = broker()
    watcher = connected(port, "W") |> subscribed([{"#", 0}])
    level = packet(0x10, [string("MQTT"), <<0x7F, 2, 0, 60>>, string("C")])
    refused = [connect(0x02, ["refused"]), connect(0xC2, ["C", "u", "wrong"]), connect(0, [""])]

    for connect <- [level | refused] do
      assert {client, <<0x20, 2, 0, code>>} =
               try_connect(port, [connect, publish(0x31, "kept", "x")])

      assert code in 1..5
      assert_closed(client)
    end

    assert_nothing(watcher, watcher)
    refute_received {:publish, _, "kept", _, _}
    late = connected(port, "S") |> subscribed([{"kept", 0}])
    assert_nothing(late, late)
  end
end
