defmodule MQTT.Broker.SharedTest do
  use ExUnit.Case, async: true
  import MQTT.Test.Brokers
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]

  alias MQTT.Broker
  alias MQTT.Test.{V4, V5}

  describe "shared subscriptions" do
    test "share messages evenly among those who are connected" do
      {_, port} = broker()

      workers =
        for n <- 1..3 do
          worker = V5.connected(port, "worker #{n}")
          V5.subscribed(worker, [{"$share/g/t", 0}])
        end

      publisher = V5.connected(port, "publisher")
      for n <- 1..30, do: send_bytes(publisher, V5.publish("t", "#{n}"))
      got = for worker <- workers, do: for(_ <- 1..10, do: elem(V5.recv_packet(worker), 4))
      assert got |> List.flatten() |> Enum.sort() == Enum.sort(for n <- 1..30, do: "#{n}")
    end

    test "can have members that publish to their own group" do
      {_, port} = broker()
      test = self()

      workers =
        for n <- 1..2 do
          worker = V5.connected(port, "worker #{n}")
          V5.subscribed(worker, [{"$share/g/t", 0}])
        end

      for worker <- workers do
        spawn_link(fn ->
          for n <- 1..50, do: send_bytes(worker, V5.publish(0x32, "t", n, "#{n}"))
          types = Stream.repeatedly(fn -> elem(V5.recv_packet(worker), 0) end)
          # What a worker gets is not known before.
          Enum.reduce_while(types, 0, fn type, got ->
            send(test, type)
            if got == 150, do: {:halt, got}, else: {:cont, got + 1}
          end)
        end)
      end

      for _ <- 1..100, do: assert_receive(:puback)
      for _ <- 1..100, do: assert_receive(:publish)
    end

    test "leave a process alone that does not get on, until it does" do
      {name, _port} = broker()
      test = self()

      member = fn id ->
        {:ok, pid} =
          Task.start_link(fn ->
            :ok = Broker.subscribe(name, "$share/g/t")
            send(test, {:member, id})
            take(test, id)
          end)

        assert_receive {:member, ^id}
        pid
      end

      slow = member.(:slow)
      true = :erlang.suspend_process(slow)
      member.(:quick)
      for n <- 1..200, do: publish_taken(name, n)
      # As many as are no sign yet that it is slow, and those that it shares until then.
      {:message_queue_len, waiting} = Process.info(slow, :message_queue_len)
      assert waiting in 1..40
      :erlang.resume_process(slow)
      assert_receive {:taken, :slow}
      eventually(fn -> Process.info(slow, :message_queue_len) == {:message_queue_len, 0} end)
      # It is looked at again meanwhile.
      eventually(fn ->
        Broker.publish(name, "t", "x")
        receive do: ({:taken, :slow} -> true), after: (0 -> false)
      end)
    end

    defp take(test, id) do
      receive do: ({:mqtt, _, _} -> send(test, {:taken, id}))
      take(test, id)
    end

    # And until one of them had it, or it waits.
    defp publish_taken(name, n) do
      {:ok, :success, 1} = Broker.publish(name, "t", "#{n}")
      receive do: ({:taken, :quick} -> :ok), after: (2 -> :ok)
    end

    test "go to a member that is offline only when nobody is there" do
      {name, port} = broker()
      offline = V5.with_session(port, "offline")
      V5.subscribed(offline, [{"$share/g/t", 1}])
      close(offline)
      eventually(fn -> not Broker.info(name, "offline").connected end)
      online = V5.subscribed(V5.connected(port, "online"), [{"$share/g/t", 1}])
      for n <- 1..5, do: Broker.publish(name, "t", "#{n}", %{qos: 1})
      assert Enum.map(V5.recv_acknowledged(online, 5), &elem(&1, 1)) == ~w(1 2 3 4 5)
      close(online)
      eventually(fn -> Broker.info(name, "online") == nil end)
      Broker.publish(name, "t", "6", %{qos: 1})
      assert V5.recv_acknowledged(V5.resumed(port, "offline"), 1) == [{0x32, "6"}]
    end

    test "give a message that was not acknowledged to another member when the session ends" do
      {name, port} = broker()
      first = V5.with_session(port, "first", <<0x21, 2::16>>)
      V5.subscribed(first, [{"$share/g/t", 2}])

      # Two are sent, and two wait.
      for {n, qos} <- [{1, 1}, {2, 2}, {3, 1}, {4, 2}],
          do: Broker.publish(name, "t", "#{n}", %{qos: qos})

      for n <- 1..2 do
        payload = "#{n}"
        assert {:publish, _, "t", _, ^payload, _} = V5.recv_packet(first)
      end

      second = V5.subscribed(V5.connected(port, "second"), [{"$share/g/t", 1}])
      send_bytes(first, V5.reason(0xE0, 0, V5.expiry(0)))
      assert_closed(first)
      # That of QoS 2 is nobody else's [MQTT-4.8.2-5].
      assert Enum.map(V5.recv_acknowledged(second, 3), &elem(&1, 1)) == ["1", "3", "4"]
      eventually(fn -> Broker.info(name, "first") == nil end)
      Broker.publish(name, "t", "5", %{qos: 1})
      assert Enum.map(V5.recv_acknowledged(second, 1), &elem(&1, 1)) == ["5"]
    end

    # It stays, or is gone as soon as its session has begun anew.
    for behind <- ["", <<0xE0, 0>>] do
      test "give all that waits, however much it is, to another when the session begins anew #{inspect(behind)}" do
        gives_all_that_waits(unquote(behind))
      end
    end

    defp gives_all_that_waits(behind) do
      {name, port} = broker()
      first = V5.subscribed(V5.with_session(port, "first"), [{"$share/g/t", 1}])
      close(first)
      eventually(fn -> not Broker.info(name, "first").connected end)
      padding = :binary.copy("x", 1_000)
      for n <- 1..1_500, do: Broker.publish(name, "t", "#{n} #{padding}", %{qos: 1})
      second = V5.subscribed(V5.connected(port, "second"), [{"$share/g/t", 1}])
      first = open(port)
      send_bytes(first, [V5.connect(0x02, ["first"]), behind])
      messages = V5.recv_acknowledged(second, 1_500)
      numbers = for {0x32, payload} <- messages, do: payload |> String.split() |> hd()
      assert numbers == for(n <- 1..1_500, do: "#{n}")
      {:connack, 0, 0, _} = V5.recv_packet(first)
      if behind == "", do: assert_open(first), else: assert_closed(first)
    end

    test "give a message to another once, also where a call has done as much as it may, and none that has expired" do
      {name, port} = broker()
      first = V5.subscribed(V5.with_session(port, "first"), [{"$share/g/t", 1}])
      close(first)
      gone(name, "first")
      expires = %{qos: 1, properties: %{message_expiry_interval: 1}}

      # Of such a length that what is left of a call, when it is about the next, is less than choosing a member takes.
      payloads = for n <- 1..600, do: String.pad_leading("#{n}", 143)
      for payload <- payloads, do: Broker.publish(name, "t", payload, %{qos: 1})
      {:ok, :success, 1} = Broker.publish(name, "t", "expired", expires)
      second = V5.subscribed(V5.connected(port, "second"), [{"$share/g/t", 1}])
      receive after: (1_100 -> :ok)
      assert Broker.delete_session(name, "first")
      {:ok, :success, 1} = Broker.publish(name, "t", "last", %{qos: 1})
      found = for {0x32, payload} <- V5.recv_acknowledged(second, 601), do: payload
      assert {found -- payloads, payloads -- found} == {["last"], []}
      assert found == payloads ++ ["last"]
    end

    test "are of any number of groups, each of which gets a message" do
      {name, port} = broker()
      client = V5.connected(port, "client")

      for filters <- Enum.chunk_every(for(n <- 1..600, do: {"$share/g#{n}/t", 1}), 50),
          do: V5.subscribed(client, filters)

      V5.subscribed(client, [{"t", 1}])
      assert {:ok, :success, 601} = Broker.publish(name, "t", "x", %{qos: 1})
      assert length(V5.recv_acknowledged(client, 601)) == 601
      assert_open(client)
    end

    test "are filters like others before MQTT 5.0, to which nobody can publish" do
      {name, port} = broker()
      V4.subscribed(V4.connected(port, "client"), [{"$share/g/t", 0}])
      assert Broker.publish(name, "t", "x") == {:ok, :no_matching_subscribers, 0}
    end
  end
end
