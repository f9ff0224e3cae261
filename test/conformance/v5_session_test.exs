defmodule MQTT.Conformance.V5SessionTest do
  # Clean Start and the Session Expiry Interval: sections 3.1.2.4, 3.1.2.11.2, 3.2.2.1.1 and 4.1.
  use MQTT.Test.Conformance, version: "5.0"

  # A client with a session that subscribes to a topic, and is gone.
  defp absent(port, id, topic, properties \\ expiry(60)) do
    connected(port, id, 0x02, [], properties) |> subscribed([{topic, 2}]) |> leave(id)
  end

  # What CONNACK says about a session.
  defp present(port, id, flags \\ 0x00, properties \\ "") do
    {client, {:connack, present, 0, _}} = try_connect(port, connect(flags, [id], properties))
    {client, present}
  end

  # Nobody tells when so much time has passed.
  defp pass(milliseconds), do: Process.sleep(milliseconds)

  statement ["MQTT-3.1.2-4", "MQTT-3.2.2-2"], "Clean Start 1 discards the session" do
    port = broker()
    publisher = connected(port, "P")
    absent(port, "S", "a")
    publish_fully(publisher, "a", 1, "x")
    assert {subscriber, 0} = present(port, "S", 0x02)
    assert_nothing(subscriber, publisher)
    publish_fully(publisher, "a", 2, "x")
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-3.1.2-5", "Clean Start 0 goes on with the session" do
    port = broker()
    absent(port, "S", "a")
    publisher = connected(port, "P")
    publish_fully(publisher, "a", 1, "before")
    assert {subscriber, 1} = present(port, "S")
    assert {:publish, 0x32, "a", _, "before", _} = recv_packet(subscriber)
    publish_fully(publisher, "a", 2, "after")
    assert {:publish, 0x32, "a", _, "after", _} = recv_packet(subscriber)
  end

  statement "MQTT-3.1.2-6", "Clean Start 0 without a session starts one" do
    port = broker()
    assert {client, 0} = present(port, "S", 0x00, expiry(60))
    client |> subscribed([{"a", 1}]) |> leave("S")
    assert {_, 1} = present(port, "S")
  end

  statement "MQTT-3.1.2-23",
            "with a Session Expiry Interval the session is kept, and without it is not" do
    port = broker()
    absent(port, "S", "a", expiry(5))
    publish_fully(connected(port, "P"), "a", 1, "x")
    assert {subscriber, 1} = present(port, "S", 0x00, expiry(0))
    assert {:publish, 0x32, "a", _, "x", _} = recv_packet(subscriber)
    leave(subscriber, "S")
    assert {subscriber, 0} = present(port, "S")
    subscriber |> subscribed([{"a", 1}]) |> leave("S")
    assert {_, 0} = present(port, "S")
  end

  statement "MQTT-3.1.2-23", "the largest Session Expiry Interval is for ever" do
    port = broker()
    absent(port, "S", "a", expiry(0xFFFFFFFF))
    assert {_, 1} = present(port, "S")
  end

  statement "MQTT-3.1.3-2", "each client identifier has its own session" do
    port = broker()
    for id <- ["S1", "S2"], do: absent(port, id, "for/#{id}")
    publisher = connected(port, "P")
    publish_fully(publisher, "for/S1", 1, "one")
    publish_fully(publisher, "for/S2", 2, "two")
    [one, two] = for id <- ["S1", "S2"], do: resumed(port, id)
    assert {:publish, 0x32, "for/S1", _, "one", _} = recv_packet(one)
    assert {:publish, 0x32, "for/S2", _, "two", _} = recv_packet(two)
    assert_nothing(one, publisher)
    assert_nothing(two, publisher)
  end

  statement "MQTT-3.1.4-4", "each CONNECT says anew what becomes of the session" do
    port = broker()
    publisher = connected(port, "P")

    for round <- 1..2 do
      absent(port, "S", "a")
      publish_fully(publisher, "a", round, "#{round}")
      subscriber = resumed(port, "S")
      payload = "#{round}"
      assert {:publish, 0x32, "a", _, ^payload, _} = recv_packet(subscriber)
      leave(subscriber, "S")
      assert {clean, 0} = present(port, "S", 0x02, expiry(60))
      publish_fully(publisher, "a", round, "not subscribed")
      assert_nothing(clean, publisher)
      leave(clean, "S")
    end
  end

  statement "MQTT-3.2.2-3",
            "Session Present is 1 if there is a session, and 0 if it has expired or never was" do
    port = broker()
    absent(port, "live", "a")
    absent(port, "expired", "a", expiry(1))
    assert {_, 0} = present(port, "unknown")
    assert {_, 1} = present(port, "live")
    pass(1_500)
    assert {_, 0} = present(port, "expired")
  end

  @tag :callbacks
  statement "MQTT-4.1.0-1",
            "the session lasts as long as the connection, also without an expiry interval" do
    port = broker()
    publisher = connected(port, "P")
    client = connected(port, "S") |> subscribed([{"a", 1}])
    publish_fully(publisher, "a", 1, "x")
    assert {:publish, 0x32, "a", id, "x", _} = recv_packet(client)
    send_bytes(client, publish(0x34, "b", 1, "half"))
    assert {:pubrec, 1, _, _} = recv_packet(client)
    for _ <- 1..5, do: assert_open(client)
    send_bytes(client, publish(0x3C, "b", 1, "half"))
    assert {:pubrec, 1, _, _} = recv_packet(client)
    send_bytes(client, [<<0x62, 2, 0, 1>>, <<0x40, 2, id::16>>])
    assert {:pubcomp, 1, 0, _} = recv_packet(client)
    publish_fully(publisher, "a", 1, "y")
    assert {:publish, 0x32, "a", _, "y", _} = recv_packet(client)
    assert_received {:publish, "S", "b", "half", _}
    refute_received {:publish, "S", "b", "half", _}
  end

  statement "MQTT-4.1.0-2",
            "a session ends when it has been without a connection for its interval" do
    port = broker()
    publisher = connected(port, "P")
    absent(port, "S", "a", expiry(1))
    publish_fully(publisher, "a", 1, "x")
    pass(1_500)
    assert {subscriber, 0} = present(port, "S")
    assert_nothing(subscriber, publisher)
    publish_fully(publisher, "a", 2, "x")
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-4.1.0-2", "a connection starts the interval anew" do
    port = broker()
    absent(port, "S", "a", expiry(1))
    subscriber = resumed(port, "S", expiry(1))
    pass(1_500)
    assert_open(subscriber)
    leave(subscriber, "S")
    assert {_, 1} = present(port, "S")
  end

  statement "MQTT-4.1.0-2", "DISCONNECT may change the interval to 0" do
    port = broker()
    client = with_session(port, "S") |> subscribed([{"a", 1}])
    send_bytes(client, reason(0xE0, 0, expiry(0)))
    assert_closed(client)
    assert_receive {:ended, "S", :normal}
    assert {_, 0} = present(port, "S")
  end
end
