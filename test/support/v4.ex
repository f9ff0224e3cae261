defmodule MQTT.Test.V4 do
  @moduledoc false
  # Packets of MQTT 3.1.1, whose protocol level is 4, and short dialogues with them.

  import ExUnit.Assertions
  import MQTT.Test.Bytes
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]

  @doc "A CONNECT with these connect flags and the strings of its payload, behind which bytes may follow."
  def connect(flags, strings, keep_alive \\ 60, behind \\ "") do
    packet(0x10, [
      <<0, 4, "MQTT", 4, flags, keep_alive::16>>,
      Enum.map(strings, &string/1),
      behind
    ])
  end

  @doc "A PUBLISH with this first byte, which has DUP, QoS and RETAIN, and with a packet identifier or nil."
  def publish(first \\ 0x30, topic, id \\ nil, payload) do
    packet(first, [string(topic), if(id, do: <<id::16>>, else: ""), payload])
  end

  @doc "A SUBSCRIBE to filters, each with the byte of the requested QoS."
  def subscribe(id, filters) do
    packet(0x82, [<<id::16>>, for({filter, qos} <- filters, do: [string(filter), qos])])
  end

  def unsubscribe(id, filters), do: packet(0xA2, [<<id::16>>, Enum.map(filters, &string/1)])

  @doc "A client that is connected, by default with Clean Session 1, and has found no session."
  def connected(port, client_id, flags \\ 0x02, strings \\ []) do
    {client, <<0x20, 2, 0, 0>>} = try_connect(port, connect(flags, [client_id | strings]))
    client
  end

  @doc "A client that is connected with Clean Session 0 and has found its session."
  def resumed(port, client_id) do
    {client, <<0x20, 2, 1, 0>>} = try_connect(port, connect(0x00, [client_id]))
    client
  end

  @doc "A client that sent this CONNECT, and the packet that it got."
  def try_connect(port, connect) do
    client = open(port)
    send_bytes(client, connect)
    {client, recv(client)}
  end

  @doc "Subscribes to filters, each of which gets the QoS it asks for."
  def subscribed(client, filters) do
    send_bytes(client, subscribe(1, filters))
    assert recv(client) == packet(0x90, [<<1::16>>, for({_, qos} <- filters, do: qos)])
    client
  end

  @doc "The next packet, a PUBLISH: its first byte, topic, packet identifier or nil, and payload."
  def recv_publish(client) do
    bytes = recv(client)
    assert {:ok, %{type: :publish} = publish, ""} = MQTT.Packet.decode(bytes, 4)
    {:binary.first(bytes), publish.topic, publish[:packet_id], publish.payload}
  end

  @doc "Publishes at QoS 1 or 2, to the end of the exchange."
  def publish_fully(client, first \\ 0x32, topic, id, payload) do
    send_bytes(client, publish(first, topic, id, payload))

    case first |> Bitwise.bsr(1) |> Bitwise.band(3) do
      1 ->
        assert recv(client) == <<0x40, 2, id::16>>

      2 ->
        assert recv(client) == <<0x50, 2, id::16>>
        send_bytes(client, <<0x62, 2, id::16>>)
        assert recv(client) == <<0x70, 2, id::16>>
    end
  end

  @doc "Whatever the publisher has sent so far, nothing of it is on the way to the subscriber."
  def assert_nothing(subscriber, publisher) do
    subscribed(subscriber, [{"behind", 0}])
    send_bytes(publisher, publish("behind", "x"))
    assert recv(subscriber) == publish("behind", "x")
  end

  @doc "On a new connection these bytes are answered with its end, and with nothing else."
  def assert_not_connected(port, bytes) do
    client = open(port)
    send_bytes(client, bytes)
    assert_closed(client)
  end

  @doc "From a connected client these bytes are answered with the end, and with nothing else."
  def assert_disconnected(port, bytes) do
    client = connected(port, "broken")
    send_bytes(client, bytes)
    assert_closed(client)
  end
end
