defmodule MQTT.Conformance.V4ConnackTest do
  # Section 3.2: CONNACK, and the sessions of section 3.1.2.4 that it tells.
  use MQTT.Test.Conformance, version: "3.1.1"

  # A client with a session that subscribes to a topic, and is gone.
  defp absent(port, id, topic) do
    client = connected(port, id, 0x00) |> subscribed([{topic, 2}])
    close(client)
    assert_receive {:ended, ^id, _}
  end

  statement "MQTT-3.2.0-1", "CONNACK is the first packet" do
    client = open(broker())
    send_bytes(client, [connect(0x02, ["C"]), <<0xC0, 0>>])
    assert recv(client) == <<0x20, 2, 0, 0>>
    assert recv(client) == <<0xD0, 0>>
  end

  statement "MQTT-3.2.0-1", "also before the messages that waited" do
    port = broker()
    absent(port, "S", "a")
    publish_fully(connected(port, "P"), "a", 1, "x")
    client = open(port)
    send_bytes(client, [connect(0x00, ["S"]), <<0xC0, 0>>])
    assert recv(client) == <<0x20, 2, 1, 0>>
  end

  statement "MQTT-3.1.2-4", "with Clean Session 0 the session goes on where it was" do
    port = broker()
    absent(port, "S", "a")
    publish_fully(connected(port, "P"), "a", 1, "x")
    assert {0x32, "a", _, "x"} = recv_publish(resumed(port, "S"))
  end

  statement "MQTT-3.1.2-5", "messages of QoS 1 and 2 are kept for a session" do
    port = broker()
    absent(port, "S", "a")
    publisher = connected(port, "P")
    publish_fully(publisher, 0x32, "a", 1, "one")
    publish_fully(publisher, 0x34, "a", 2, "two")
    subscriber = resumed(port, "S")
    assert {0x32, "a", _, "one"} = recv_publish(subscriber)
    assert {0x34, "a", _, "two"} = recv_publish(subscriber)
  end

  statement "MQTT-3.1.2-6",
            "Clean Session 1 ends the session, and its own ends with the connection" do
    port = broker()
    absent(port, "S", "a")
    publisher = connected(port, "P")
    publish_fully(publisher, "a", 1, "x")
    clean = connected(port, "S", 0x02)
    assert_nothing(clean, publisher)
    subscribed(clean, [{"b", 1}])
    close(clean)
    assert_receive {:ended, "S", _}
    publish_fully(publisher, "b", 2, "x")
    subscriber = connected(port, "S", 0x00)
    publish_fully(publisher, "a", 3, "x")
    publish_fully(publisher, "b", 4, "x")
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-3.1.4-3", "each CONNECT says anew what becomes of the session" do
    port = broker()
    publisher = connected(port, "P")

    for round <- 1..2 do
      absent(port, "S", "a")
      publish_fully(publisher, "a", round, "#{round}")
      subscriber = resumed(port, "S")
      assert {0x32, "a", id, payload} = recv_publish(subscriber)
      assert payload == "#{round}"
      send_bytes(subscriber, [<<0x40, 2, id::16>>, <<0xE0, 0>>])
      assert_receive {:ended, "S", :normal}
      clean = connected(port, "S", 0x02)
      publish_fully(publisher, "a", round, "not subscribed")
      assert_nothing(clean, publisher)
      close(clean)
      assert_receive {:ended, "S", _}
    end
  end

  statement "MQTT-3.2.2-1", "with Clean Session 1 no session is present" do
    port = broker()
    absent(port, "S", "a")
    assert {_, <<0x20, 2, 0, 0>>} = try_connect(port, connect(0x02, ["S"]))
  end

  statement "MQTT-3.2.2-2", "with Clean Session 0 and a session one is present" do
    port = broker()
    absent(port, "S", "a")
    assert {_, <<0x20, 2, 1, 0>>} = try_connect(port, connect(0x00, ["S"]))
  end

  statement "MQTT-3.2.2-3", "with Clean Session 0 and no session none is present" do
    assert {_, <<0x20, 2, 0, 0>>} = try_connect(broker(), connect(0x00, ["S"]))
  end

  statement "MQTT-3.2.2-4", "a refusal tells of no session" do
    port = broker()
    absent(port, "S", "a")
    assert {client, <<0x20, 2, 0, 4>>} = try_connect(port, connect(0xC0, ["S", "user", "wrong"]))
    assert_closed(client)
    assert_open(resumed(port, "S"))
  end

  statement "MQTT-3.2.2-5", "the connection is closed behind a refusal" do
    port = broker()
    level = packet(0x10, [string("MQTT"), <<0x7F, 2, 0, 60>>, string("C")])

    for {connect, code} <- [
          {level, 1},
          {connect(0x00, [""]), 2},
          {connect(0x02, ["refused"]), 2},
          {connect(0xC2, ["C", "user", "wrong"]), 4}
        ] do
      assert {client, <<0x20, 2, 0, ^code>>} = try_connect(port, connect)
      assert_closed(client)
    end
  end

  statement "MQTT-3.2.2-6",
            "a refusal that no return code says closes the connection without CONNACK" do
    assert_not_connected(broker(), connect(0x82, ["C", "broken"]))
  end
end
