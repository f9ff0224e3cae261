defmodule MQTT.Test.Mqtt5 do
  @moduledoc false
  # A handler of MQTT.Test.Scripted and a client of MQTT 5.0, which reads and writes packets as maps.

  import MQTT.Test.Wire
  alias MQTT.{Packet, Test.Compat, Test.Scripted}

  @doc "Starts a server whose handler has these functions, and gives the port and the options of a client."
  def served(transport, functions \\ %{}, options \\ []) do
    Compat.serve(transport, Scripted, Scripted.with_functions(functions), options: options)
  end

  @doc "A client that has sent CONNECT, and the first packet of the answer."
  def connect_5(port, opts, fields \\ []) do
    client = open(port, opts)
    send_bytes(client, connect_packet([protocol_version: 5] ++ fields))
    {client, packet(client)}
  end

  @doc "The next packet."
  def packet(client) do
    {:ok, packet, ""} = client |> recv() |> Packet.decode(5)
    packet
  end

  def send_packet(client, packet) do
    {:ok, bytes} = Packet.encode(packet, 5)
    send_bytes(client, bytes)
  end
end
