defmodule MQTT.Broker.ModelSharedTest do
  # What the members of a shared subscription have got in the end, whatever happened to their connections and sessions
  # meanwhile; and which wills came of publishers that ended in one way or the other.
  use ExUnit.Case, async: true
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]

  alias MQTT.{Broker, Packet}
  alias MQTT.Test.{Brokers, V5}

  @messages 300
  @a_connection 10

  # Behind so many milliseconds of silence nothing more is on its way.
  @silence 200

  # Random, and the same in each run but for who is quicker. In some no session ends.
  for {seed, ends?} <- [{1, false}, {2, false}, {3, true}, {4, true}] do
    test "messages reach one member or another, and wills come when they are due (#{seed})" do
      {name, port} = Brokers.broker()
      observer = V5.subscribed(V5.connected(port, "observer"), [{"will", 1}])

      members =
        for n <- 1..3 do
          # Once each is a member, one of them always is.
          client = connect(port, "member #{n}", 0x02) |> elem(0)
          subscribe(client)
          # The first one's session never ends, so that there is somebody to pass on to.
          s = %{port: port, id: "member #{n}", ends?: unquote(ends?) and n > 1}
          s = Map.merge(s, %{client: client, got: [], open: MapSet.new(), settling: false})
          Task.async(fn -> member(s, unquote(seed) * 10 + n) end)
        end

      Brokers.eventually(fn -> Broker.stats(name).subscriptions == 4 end)
      {owed, wills} = publish(port, unquote(seed))
      for member <- members, do: send(member.pid, :settle)
      got = for member <- members, do: Task.await(member, 30_000)

      # Who has a message twice has it at QoS 1.
      qos_1 = for {n, 1} <- owed, do: n
      qos_2 = for {n, 2} <- owed, do: n
      all = List.flatten(got)
      assert qos_1 -- all == []
      assert for(n <- qos_2, Enum.count(all, &(&1 == n)) > 1, do: n) == []

      unless unquote(ends?) do
        assert qos_2 -- all == []
        for of_one <- got, do: assert(Enum.uniq(of_one) == Enum.sort(Enum.uniq(of_one)))
      end

      heard = for _ <- wills, do: will(observer)
      assert Enum.sort(heard) == Enum.sort(wills)
      V5.assert_nothing(observer, V5.connected(port, "last"))
    end
  end

  ## The publisher

  # Each message to its end, and a will with each connection. Gives what a member was to get, and the wills that are due.
  defp publish(port, seed) do
    :rand.seed(:exsss, {seed, 5, 6})

    for chunk <- Enum.chunk_every(1..@messages, @a_connection), reduce: {[], []} do
      {owed, wills} ->
        id = "publisher #{hd(chunk)}"
        client = V5.connected(port, id, 0x0E, [V5.will("will", id)])

        owed =
          for n <- chunk, reduce: owed do
            owed ->
              qos = :rand.uniform(2)
              0 = V5.publish_fully(client, 0x30 + 2 * qos, "t", rem(n, 100) + 1, "#{n}")
              [{n, qos} | owed]
          end

        if :rand.uniform(2) == 1 do
          send_bytes(client, <<0xE0, 0>>)
          assert_closed(client)
          {owed, wills}
        else
          abort(client)
          {owed, [id | wills]}
        end
    end
  end

  defp will(observer) do
    assert {:publish, 0x32, "will", id, payload, []} = V5.recv_packet(observer)
    send_bytes(observer, <<0x40, 2, id::16>>)
    payload
  end

  ## A member

  # A client that loses its connection, does not always answer, and may begin anew. Gives the messages that it took.
  defp member(s, seed) do
    :rand.seed(:exsss, {seed, 7, 8})
    loop(s)
  end

  defp loop(s) do
    s =
      receive do
        :settle -> back(%{s | settling: true})
      after
        0 -> s
      end

    case next(s.client, @silence) do
      # Not all that is under way was answered.
      :nothing when not s.settling -> s |> back() |> loop()
      :nothing -> Enum.reverse(s.got)
      packet -> packet |> handle(s) |> turn() |> loop()
    end
  end

  defp turn(%{settling: true} = s), do: s
  defp turn(s), do: turn(:rand.uniform(25), s)

  defp turn(1, s) do
    abort(s.client)
    back(s)
  end

  # The connection before is ended by the broker.
  defp turn(2, s) do
    old = s.client
    s = back(s)
    close(old)
    s
  end

  defp turn(3, %{ends?: true} = s) do
    send_bytes(s.client, V5.reason(0xE0, 0x00, V5.expiry(0)))
    _ = recv_all(s.client)
    anew(s, 0x00)
  end

  defp turn(4, %{ends?: true} = s) do
    old = s.client
    s = anew(s, 0x02)
    close(old)
    s
  end

  defp turn(_, s), do: s

  defp back(s) do
    {client, present} = connect(s.port, s.id, 0x00)
    assert present == 1
    %{s | client: client}
  end

  defp anew(s, flags) do
    {client, present} = connect(s.port, s.id, flags)
    assert present == 0
    subscribe(client)
    %{s | client: client, open: MapSet.new()}
  end

  defp connect(port, id, flags) do
    connect = V5.connect(flags, [id], V5.expiry(600))
    {client, {:connack, present, 0, _}} = V5.try_connect(port, connect)
    {client, present}
  end

  defp subscribe(client), do: send_bytes(client, V5.subscribe(1, [{"$share/g/t", 2}]))

  defp next(client, patience) do
    case :gen_tcp.recv(client.socket, 2, patience) do
      {:ok, <<first, length>>} when length < 128 ->
        body = if length > 0, do: recv_bytes(client, length), else: ""
        {:ok, packet, ""} = Packet.decode(<<first, length, body::binary>>, 5)
        packet

      {:error, :timeout} ->
        :nothing
    end
  end

  defp handle(%{type: :suback}, s), do: s

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
    if s.settling or :rand.uniform(20) > 1, do: send_bytes(s.client, packet)
  end
end
