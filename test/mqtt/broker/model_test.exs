defmodule MQTT.Broker.ModelTest do
  # What a client has got in the end, whatever happened to its connections meanwhile.
  use ExUnit.Case, async: true
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]

  alias MQTT.{Broker, Packet}
  alias MQTT.Test.V4

  @messages 400

  # Random, and the same in each run.
  for seed <- 1..6 do
    test "no acknowledged message is lost, QoS 2 comes once, and in order (#{seed})" do
      :rand.seed(:exsss, {unquote(seed), 2, 3})
      name = :"model_#{unquote(seed)}"
      options = [name: name, ip: {127, 0, 0, 1}, port: 0, sys_interval: :infinity]
      start_supervised!({Broker, options})
      [%{port: port}] = Broker.listeners(name)

      device = V4.connected(port, "device", 0x00)
      V4.subscribed(device, [{"t", 2}])
      qos = for _ <- 1..@messages, do: Enum.random(1..2)
      publisher = Task.async(fn -> publish(port, Enum.zip(1..@messages, qos)) end)
      got = receive_all(%{port: port, client: device, got: [], open: MapSet.new()})
      Task.await(publisher)

      # At QoS 1 a message may come again, at QoS 2 not.
      assert Enum.uniq(got) == Enum.to_list(1..@messages)
      twice = Enum.uniq(got -- Enum.to_list(1..@messages))
      assert for(n <- twice, Enum.at(qos, n - 1) == 2, do: n) == []
    end
  end

  # Each message to its end; now and then over a new connection.
  defp publish(port, messages) do
    for chunk <- Enum.chunk_every(messages, 25), reduce: 1 do
      number ->
        client = V4.connected(port, "publisher #{number}")

        for {n, qos} <- chunk,
            do: V4.publish_fully(client, 0x30 + 2 * qos, "t", rem(n, 100) + 1, "#{n}")

        close(client)
        number + 1
    end
  end

  # A client that loses its connection and does not always answer. What it knows stays.
  defp receive_all(%{got: got} = s) do
    if length(Enum.uniq(got)) == @messages do
      Enum.reverse(got)
    else
      s |> step(:rand.uniform(12)) |> receive_all()
    end
  end

  defp step(s, 1) do
    abort(s.client)
    back(s)
  end

  defp step(s, 2) do
    # The connection before is ended by the broker.
    old = s.client
    s = back(s)
    close(old)
    s
  end

  defp step(s, _), do: s.client |> next() |> handle(s)

  defp back(s) do
    client = open(s.port)
    send_bytes(client, V4.connect(0x00, ["device"]))
    # The broker may not know yet that the one before is gone.
    assert <<0x20, 2, 1, 0>> = recv(client)
    %{s | client: client}
  end

  # The next packet, if one comes soon; what comes later comes on this connection or another.
  defp next(client) do
    case :gen_tcp.recv(client.socket, 2, 200) do
      {:ok, <<first, length>>} when length < 128 ->
        {:ok, packet, ""} = Packet.decode(<<first, length>> <> body(client, length), 4)
        packet

      {:error, :timeout} ->
        :nothing
    end
  end

  defp body(_client, 0), do: ""
  defp body(client, length), do: recv_bytes(client, length)

  # Nothing more comes on this connection if everything that is under way was not answered.
  defp handle(:nothing, s), do: back(s)

  defp handle(%{type: :publish, qos: 1, packet_id: id} = packet, s) do
    sometimes(s, <<0x40, 2, id::16>>)
    %{s | got: [String.to_integer(packet.payload) | s.got]}
  end

  defp handle(%{type: :publish, qos: 2, packet_id: id} = packet, s) do
    sometimes(s, <<0x50, 2, id::16>>)

    if id in s.open,
      do: s,
      else: %{s | open: MapSet.put(s.open, id), got: [String.to_integer(packet.payload) | s.got]}
  end

  defp handle(%{type: :pubrel, packet_id: id}, s) do
    sometimes(s, <<0x70, 2, id::16>>)
    %{s | open: MapSet.delete(s.open, id)}
  end

  defp sometimes(s, packet) do
    if :rand.uniform(10) > 1, do: send_bytes(s.client, packet)
  end
end
