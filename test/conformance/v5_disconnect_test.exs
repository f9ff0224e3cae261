defmodule MQTT.Conformance.V5DisconnectTest do
  # Sections 3.12 to 3.14 and 4.13: PINGREQ, DISCONNECT, errors.
  use MQTT.Test.Conformance, version: "5.0"

  # A watcher of a will, and the client that has it.
  defp watched do
    port = broker()
    watcher = connected(port, "W") |> subscribed([{"w", 0}])
    {port, watcher, connected(port, "C", 0x06, [will("w", "gone")])}
  end

  statement "MQTT-3.12.4-1", "PINGREQ is answered" do
    client = connected(broker(), "C")
    send_bytes(client, <<0xC0, 0>>)
    assert recv(client) == <<0xD0, 0>>
  end

  statement "MQTT-3.14.0-1", "before a CONNACK that accepts there is no DISCONNECT" do
    port = broker()

    for bytes <- [
          <<0xC0, 0>>,
          <<0xE0, 0>>,
          <<0x00, 0>>,
          publish("a", "x"),
          connect(0x03, ["C"]),
          connect(0x02, ["C"], <<0x21, 0, 0>>),
          connect(0x02, ["refused"]),
          connect(0xC2, ["C", "user", "wrong"]),
          connect(0x82, ["C", "broken"]),
          connect(0x02, ["C"], <<0x15, 0, 1, "m">>),
          packet(0x10, [string("MQTX"), <<5, 2, 0, 60, 0>>, string("C")])
        ] do
      client = open(port)
      send_bytes(client, bytes)
      for packet <- client |> recv_all() |> packets(), do: assert({:connack, 0, _, _} = packet)
    end
  end

  statement "MQTT-3.14.1-1", "DISCONNECT with flags is an error" do
    for first <- [0xE1, 0xE2, 0xE4, 0xE8] do
      {_port, watcher, client} = watched()
      send_bytes(client, <<first, 0>>)
      assert_ended(client, [0x81])
      assert recv(watcher) == publish("w", "gone")
    end
  end

  statement "MQTT-3.14.2-1", "a DISCONNECT with a code that is none of its own is an error" do
    for code <- [0x01, 0x03, 0x18, 0x85, 0xFF] do
      {_port, watcher, client} = watched()
      send_bytes(client, reason(0xE0, code))
      assert_ended(client, [0x81, 0x82])
      assert recv(watcher) == publish("w", "gone")
    end
  end

  # Ways to be disconnected, each with the code.
  @errors [
    {<<0xC1, 0>>, 0x81},
    {<<0x20, 3, 0, 0, 0>>, 0x82},
    {<<0x30, 8, 0, 1, "a", 3, 0x23, 0, 0, "x">>, 0x94},
    {<<0x82, 3, 0, 1, 0>>, 0x82}
  ]

  statement ["MQTT-3.14.2-1", "MQTT-3.14.2-2", "MQTT-3.14.4-2"],
            "the server's DISCONNECT has a code of its own and no Session Expiry Interval, and the end follows" do
    port = broker()
    # The last two are looked at by each of these.
    for {bytes, code} <- @errors, do: assert_disconnected(port, bytes, [code])
    first = connected(port, "C")
    connected(port, "C")
    assert_ended(first, [0x8E])
  end

  statement "MQTT-3.14.4-1", "nothing comes behind the server's DISCONNECT" do
    port = broker()
    subscriber = connected(port, "S", 0x02, [], <<0x21, 0, 1>>) |> subscribed([{"a", 1}])
    publisher = connected(port, "P")
    for n <- 1..3, do: publish_fully(publisher, "a", n, "x")
    assert {:publish, 0x32, "a", id, "x", _} = recv_packet(subscriber)
    send_bytes(subscriber, [<<0xC1, 0>>, <<0x40, 2, id::16>>, <<0xC0, 0>>])
    assert_ended(subscriber, [0x81])
  end

  statement "MQTT-3.14.4-1", "what comes behind the client's DISCONNECT is not handled" do
    port = broker()
    watcher = connected(port, "W") |> subscribed([{"#", 0}])
    client = connected(port, "C")
    send_bytes(client, [publish("a", "before"), <<0xE0, 0>>, publish("a", "behind")])
    assert recv(watcher) == publish("a", "before")
    assert_closed(client)
    assert_receive {:ended, "C", :normal}
    assert_nothing(watcher, watcher)
  end

  statement "MQTT-3.14.4-3",
            "the will is not published after DISCONNECT with 0x00, in all of its forms" do
    for bytes <- [<<0xE0, 0>>, <<0xE0, 1, 0>>, <<0xE0, 2, 0, 0>>] do
      {_port, watcher, client} = watched()
      send_bytes(client, bytes)
      assert_closed(client)
      assert_receive {:ended, "C", :normal}
      assert_nothing(watcher, watcher)
    end
  end

  statement "MQTT-3.14.4-3", "the will is published after DISCONNECT with another code" do
    for code <- [0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99] do
      {_port, watcher, client} = watched()
      send_bytes(client, reason(0xE0, code))
      assert_closed(client)
      assert recv(watcher) == publish("w", "gone")
    end
  end

  statement ["MQTT-4.13.1-1", "MQTT-4.13.2-1"],
            "a malformed packet and an error of the protocol close their connection, and no other" do
    port = broker()
    other = connected(port, "other")

    for bytes <- [
          # Packets that a client does not send, or that do not exist.
          <<0x00, 0>>,
          <<0x20, 3, 0, 0, 0>>,
          <<0x90, 4, 0, 1, 0, 0>>,
          <<0xB0, 4, 0, 1, 0, 0>>,
          <<0xD0, 0>>,
          # Lengths that do not fit.
          <<0xC0, 1, 0>>,
          <<0x30, 2, 0, 1>>,
          <<0x30, 5, 0, 1, "a", 9, "x">>,
          <<0x82, 7, 0, 1, 0, 0, 2, "a", 0>>,
          <<0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01>>,
          # Properties that are unknown, of another packet, or there twice.
          publish(0x30, "a", nil, "x", <<0x7F, 1>>),
          publish(0x30, "a", nil, "x", <<0x11, 1::32>>),
          publish(0x30, "a", nil, "x", <<0x01, 1, 0x01, 1>>),
          publish(0x30, "a", nil, "x", <<0x01, 2>>),
          subscribe(1, [{"a", 0}], <<0x0B, 0>>),
          subscribe(1, [{"a", 0}], <<0x0B, 1, 0x0B, 2>>),
          unsubscribe(1, ["a"], <<0x0B, 1>>)
        ] do
      assert_disconnected(port, bytes, [0x81, 0x82])
    end

    assert_open(other)
    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-4.13.1-1",
            "a DISCONNECT that gives a session a life it did not have is an error" do
    {_port, watcher, client} = watched()
    send_bytes(client, reason(0xE0, 0x00, expiry(5)))
    assert_ended(client, [0x82])
    assert recv(watcher) == publish("w", "gone")
  end

  statement "MQTT-4.13.2-1", "a CONNACK that refuses is followed by the end" do
    port = broker()

    for {connect, code} <- [
          {connect(0x02, ["refused"]), 0x85},
          {connect(0xC2, ["C", "user", "wrong"]), 0x86},
          {connect(0x02, ["C"], <<0x15, 0, 1, "m">>), 0x8C}
        ] do
      assert {client, {:connack, 0, ^code, _}} = try_connect(port, connect)
      assert_closed(client)
    end
  end
end
