defmodule MQTT.Conformance.V5AcknowledgementTest do
  # Sections 3.4 to 3.7: PUBACK, PUBREC, PUBREL, PUBCOMP, but for Reason Strings and User Properties.
  use MQTT.Test.Conformance, version: "5.0"

  @accepted [0x00, 0x10]
  @codes [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]

  # A publisher, and a subscriber to whom a message of QoS 1 or 2 is on the way, with its identifier.
  defp under_way(qos) do
    port = broker()
    publisher = connected(port, "P")
    subscriber = connected(port, "S") |> subscribed([{"a", 2}])
    publish_fully(publisher, 0x30 + 2 * qos, "a", 1, "x")
    assert {:publish, _, "a", id, "x", _} = recv_packet(subscriber)
    {publisher, subscriber, id}
  end

  @tag :callbacks
  statement "MQTT-3.4.2-1", "the server's PUBACK has one of its codes" do
    port = broker()
    connected(port, "S") |> subscribed([{"a", 0}])
    publisher = connected(port, "P")
    assert publish_fully(publisher, 0x32, "a", 1, "x") == 0x00
    assert publish_fully(publisher, 0x32, "nobody", 1, "x") in @accepted
    assert publish_fully(publisher, 0x32, "denied/a", 1, "x") == 0x87
    assert publish_fully(publisher, 0x32, "a", 1, "") in @codes
  end

  statement "MQTT-3.4.2-1", "a PUBACK with another code closes the connection" do
    for code <- [0x01, 0x18, 0x92, 0xFF] do
      {_, subscriber, id} = under_way(1)
      send_bytes(subscriber, <<0x40, 3, id::16, code>>)
      assert_ended(subscriber, [0x81, 0x82])
    end
  end

  @tag :callbacks
  statement "MQTT-3.5.2-1", "the server's PUBREC has one of its codes" do
    port = broker()
    connected(port, "S") |> subscribed([{"a", 0}])
    publisher = connected(port, "P")
    assert publish_fully(publisher, 0x34, "a", 1, "x") == 0x00
    assert publish_fully(publisher, 0x34, "nobody", 1, "x") in @accepted
    assert publish_fully(publisher, 0x34, "denied/a", 1, "x") == 0x87
  end

  statement "MQTT-3.5.2-1", "a PUBREC with another code closes the connection" do
    for code <- [0x01, 0x18, 0x92, 0x93] do
      {_, subscriber, id} = under_way(2)
      send_bytes(subscriber, <<0x50, 3, id::16, code>>)
      assert_ended(subscriber, [0x81, 0x82])
    end
  end

  statement "MQTT-3.6.1-1", "PUBREL with other flags closes the connection" do
    port = broker()

    for first <- [0x60, 0x61, 0x63, 0x66, 0x6A] do
      client = connected(port, "C")
      send_bytes(client, publish(0x34, "a", 1, "x"))
      assert {:pubrec, 1, _, _} = recv_packet(client)
      send_bytes(client, <<first, 2, 0, 1>>)
      assert_ended(client, [0x81])
    end
  end

  statement ["MQTT-3.6.2-1", "MQTT-3.6.2-2", "MQTT-3.6.2-3"],
            "the server's PUBREL has the code 0x00 or 0x92 and no properties" do
    {_, subscriber, id} = under_way(2)

    # Also when PUBREC is repeated, and for one that nobody waits for.
    for _ <- 1..2 do
      send_bytes(subscriber, <<0x50, 2, id::16>>)
      assert {:pubrel, ^id, 0, []} = recv_packet(subscriber)
    end

    send_bytes(subscriber, <<0x50, 2, 0x7FFF::16>>)
    assert {:pubrel, 0x7FFF, code, []} = recv_packet(subscriber)
    assert code in [0x00, 0x92]
  end

  statement "MQTT-3.6.2-1", "a PUBREL with another code closes the connection" do
    port = broker()

    for code <- [0x01, 0x10, 0x80] do
      client = connected(port, "C")
      send_bytes(client, publish(0x34, "a", 1, "x"))
      assert {:pubrec, 1, _, _} = recv_packet(client)
      send_bytes(client, <<0x62, 3, 0, 1, code>>)
      assert_ended(client, [0x81, 0x82])
    end
  end

  statement ["MQTT-3.7.2-1", "MQTT-3.7.2-2", "MQTT-3.7.2-3"],
            "the server's PUBCOMP has the code 0x00 or 0x92 and no properties" do
    client = connected(broker(), "C")
    send_bytes(client, publish(0x34, "a", 1, "x"))
    assert {:pubrec, 1, _, _} = recv_packet(client)
    send_bytes(client, <<0x62, 2, 0, 1>>)
    assert {:pubcomp, 1, 0, []} = recv_packet(client)
    send_bytes(client, <<0x62, 2, 0, 1>>)
    assert {:pubcomp, 1, code, []} = recv_packet(client)
    assert code in [0x00, 0x92]
    # One that the client says it does not know.
    send_bytes(client, <<0x62, 3, 0, 2, 0x92>>)
    assert {:pubcomp, 2, code, []} = recv_packet(client)
    assert code in [0x00, 0x92]
  end

  statement "MQTT-3.7.2-1", "a PUBCOMP with another code closes the connection" do
    for code <- [0x01, 0x10, 0x80] do
      {_, subscriber, id} = under_way(2)
      send_bytes(subscriber, <<0x50, 2, id::16>>)
      assert {:pubrel, ^id, 0, _} = recv_packet(subscriber)
      send_bytes(subscriber, <<0x70, 3, id::16, code>>)
      assert_ended(subscriber, [0x81, 0x82])
    end
  end
end
