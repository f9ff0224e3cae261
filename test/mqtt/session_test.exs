defmodule MQTT.SessionTest do
  use MQTT.Test.Compat
  doctest MQTT.Session

  alias MQTT.{Session, Test.Scripted}

  @kept connect_packet(clean_start: false)

  # A server that gives all of its connections the same session.
  defp serve_session(transport, session, functions \\ %{}, options \\ []) do
    init = fn _params, state -> {:ok, state, {:session, session}} end
    args = functions |> Map.put(:init, init) |> Scripted.with_functions()
    serve(transport, Scripted, args, options: options)
  end

  defp resume(port, opts, present) do
    client = open(port, opts)
    send_bytes(client, @kept)
    assert recv(client) == <<0x20, 2, present, 0>>
    client
  end

  test "whoever had it hears of it, also if the one that takes it is killed meanwhile" do
    # So much is forgotten that it is done on a dirty scheduler, which goes on for a process that was killed.
    session = Session.new(max_session_messages: 20_000)
    {port, opts} = serve_session(:tcp, session)

    for turn <- 1..40 do
      client = open(port, opts)
      send_bytes(client, @kept)
      assert <<0x20, 2, _, 0>> = recv(client)
      assert_receive {:init, first, _}
      monitor = Process.monitor(first)
      for n <- 1..10_000, do: :ok = Session.publish(session, "a", "#{n}", %{qos: 1})

      other = open(port, opts)
      send_bytes(other, connect_packet(clean_start: true))
      assert_receive {:init, second, _}
      spin(turn * 60)
      Process.exit(second, :kill)
      # Waits for the call.
      taken = Session.info(session).connection != first
      if not taken, do: close(client)
      assert_receive {:DOWN, ^monitor, _, _, {:shutdown, reason}}
      assert reason == if(taken, do: :session_taken_over, else: :closed)
      for client <- [client, other], do: close(client)
      :ok = Session.clear(session)
    end
  end

  defp spin(microseconds) do
    end_at = System.monotonic_time(:microsecond) + microseconds
    Stream.repeatedly(fn -> System.monotonic_time(:microsecond) end) |> Enum.find(&(&1 >= end_at))
  end

  test_each "what was not acknowledged is sent again, in its order [MQTT-4.4.0-1]" do
    session = Session.new()
    {port, opts} = serve_session(transport, session)
    client = resume(port, opts, 0)
    assert_receive {:init, pid, _}
    ref = Process.monitor(pid)
    qos = fn n -> 1 + rem(n, 2) end
    actions = for n <- 1..4, do: {:publish, "a", "#{n}", %{qos: qos.(n)}}
    :acted = GenServer.call(pid, {:act, actions})
    for n <- 1..4, do: assert(<<_, 6, 1::16, "a", ^n::16, _>> = recv(client))
    # 2 is acknowledged, 3 recorded.
    send_bytes(client, [<<0x40, 2, 2::16>>, <<0x50, 2, 3::16>>])
    assert recv(client) == <<0x62, 2, 3::16>>
    close(client)
    assert_receive {:terminate, _, ^session}
    assert_receive {:DOWN, ^ref, _, _, _}
    assert %{inflight: 3, queued: 0, connection: nil} = Session.info(session)

    :ok = Session.publish(session, "a", "5", %{qos: 1})
    client = resume(port, opts, 1)
    assert recv(client) == <<0x3C, 6, 1::16, "a", 1::16, "1">>
    assert recv(client) == <<0x62, 2, 3::16>>
    assert recv(client) == <<0x3A, 6, 1::16, "a", 4::16, "4">>
    assert <<0x32, 6, 1::16, "a", _::16, "5">> = recv(client)
    assert_open(client)
  end

  test_each "a message of QoS 2 does not come twice across connections [MQTT-4.3.3-10]" do
    {port, opts} = serve_session(transport, Session.new())
    client = resume(port, opts, 0)
    publish = <<0x34, 6, 1::16, "a", 9::16, "x">>
    send_bytes(client, publish)
    assert recv(client) == <<0x50, 2, 9::16>>
    close(client)
    assert_receive {:terminate, _, _}

    client = resume(port, opts, 1)
    send_bytes(client, <<0x3C, 6, 1::16, "a", 9::16, "x">>)
    assert recv(client) == <<0x50, 2, 9::16>>
    send_bytes(client, <<0x62, 2, 9::16>>)
    assert recv(client) == <<0x70, 2, 9::16>>
    assert_receive {:handle_publish, ["a", "x", _]}
    refute_received {:handle_publish, _}
  end

  test_each "a message is put into the session of a connected client" do
    session = Session.new()
    {port, opts} = serve_session(transport, session)
    client = resume(port, opts, 0)
    for n <- 1..100, do: :ok = Session.publish(session, ["a"], "#{n}", %{qos: rem(n, 3)})

    for n <- 1..100 do
      payload = "#{n}"
      packet = recv(client)

      if rem(n, 3) == 0,
        do: assert(<<0x30, _, 1::16, "a", ^payload::binary>> = packet),
        else: assert(<<_, _, 1::16, "a", _id::16, ^payload::binary>> = packet)
    end
  end

  test_each "megabytes that wait come in order to a client that reads late" do
    session = Session.new()
    {port, opts} = serve_session(transport, session)
    client = resume(port, opts, 0)
    close(client)
    assert_receive {:terminate, _, _}
    payload = String.duplicate("x", 2_000)
    for n <- 1..1_500, do: :ok = Session.publish(session, "a", [<<n::32>>, payload], %{qos: 1})

    client = resume(port, opts, 1)
    assert_receive {:init, _, _}
    assert_receive {:init, pid, _}
    # It has sent what the window and the socket take.
    _ = :sys.get_state(pid)

    for n <- 1..1_500 do
      assert <<0x32, _, _, 1::16, "a", id::16, ^n::32, ^payload::binary>> = recv(client)
      send_bytes(client, <<0x40, 2, id::16>>)
    end

    assert_open(client)
    assert %{inflight: 0, queued: 0} = Session.info(session)
  end

  test "Clean Session begins anew [MQTT-3.1.2-6]" do
    session = Session.new()
    {port, opts} = serve_session(:tcp, session)
    client = resume(port, opts, 0)
    send_bytes(client, <<0x82, 6, 1::16, 1::16, "a", 1>>)
    assert recv(client) == <<0x90, 3, 1::16, 1>>
    close(client)
    assert_receive {:terminate, _, _}
    :ok = Session.publish(session, "a", "", %{qos: 1})
    assert [{"a", %{qos: 1}}] = Session.subscriptions(session)

    client = connect(port)
    assert_open(client)
    assert Session.subscriptions(session) == []
    assert %{queued: 0} = Session.info(session)
  end

  test "subscriptions are kept as they are granted" do
    session = Session.new()

    refuses = fn
      "no", _, _, state -> {:ok, :failed, state}
      "half", _, _, state -> {:ok, 1, state}
      _, qos, _, state -> {:ok, qos, state}
    end

    {port, opts} = serve_session(:tcp, session, %{handle_subscribe: refuses})
    client = resume(port, opts, 0)
    filters = [{"no", 2}, {"half", 2}, {"a/+", 2}]
    body = for {filter, qos} <- filters, do: [<<byte_size(filter)::16>>, filter, qos]
    body = IO.iodata_to_binary([<<1::16>>, body])
    send_bytes(client, <<0x82, byte_size(body), body::binary>>)
    assert recv(client) == <<0x90, 5, 1::16, 0x80, 1, 2>>
    assert [{"a/+", %{qos: 2}}, {"half", %{qos: 1}}] = Session.subscriptions(session)
    send_bytes(client, <<0xA2, 8, 2::16, 4::16, "half">>)
    assert recv(client) == <<0xB0, 2, 2::16>>
    assert [{"a/+", _}] = Session.subscriptions(session)
  end

  test_each "the connection before is ended [MQTT-3.1.4-2]" do
    session = Session.new()
    {port, opts} = serve_session(transport, session)
    first = resume(port, opts, 0)
    assert_receive {:init, first_pid, _}
    second = resume(port, opts, 1)
    assert_receive {:init, second_pid, _}
    assert_receive {:terminate, {:shutdown, :session_taken_over}, ^session}
    assert_closed(first)
    assert_open(second)
    assert first_pid != second_pid
    assert %{connection: ^second_pid} = Session.info(session)
  end

  test "the connection that comes first by its number does not take the session from one behind it" do
    session = Session.new()
    {:ok, numbers} = Agent.start_link(fn -> [3, 2, 3, 7] end)

    init = fn _params, state ->
      number = Agent.get_and_update(numbers, fn [first | others] -> {first, others} end)
      {:ok, state, {:session, session, number}}
    end

    {port, opts} = serve(:tcp, Scripted, Scripted.with_functions(%{init: init}))
    third = resume(port, opts, 0)
    second = open(port, opts)
    send_bytes(second, @kept)
    # MQTT 3.1.1 has no code for it.
    assert_closed(second)
    assert_receive {:terminate, {:shutdown, :session_taken_over}, nil}
    assert_open(third)
    # The same number, and a higher one.
    again = resume(port, opts, 1)
    assert_closed(third)
    _seventh = resume(port, opts, 1)
    assert_closed(again)
  end

  test "the session is free when its owner is killed" do
    session = Session.new()
    {port, opts} = serve_session(:tcp, session)
    client = resume(port, opts, 0)
    assert_receive {:init, pid, _}
    Process.exit(pid, :kill)
    assert_closed(client)
    :ok = Session.publish(session, "a", "b", %{qos: 1})
    client = resume(port, opts, 1)
    assert <<0x32, 6, 1::16, "a", _::16, "b">> = recv(client)
  end

  test "a session goes through a binary" do
    session = Session.new()
    {port, opts} = serve_session(:tcp, session)
    client = resume(port, opts, 0)
    send_bytes(client, <<0x82, 6, 1::16, 1::16, "a", 2>>)
    send_bytes(client, <<0x34, 6, 1::16, "a", 9::16, "x">>)
    assert recv(client) == <<0x90, 3, 1::16, 2>>
    assert recv(client) == <<0x50, 2, 9::16>>
    assert_receive {:init, pid, _}
    :acted = GenServer.call(pid, {:act, {:publish, "a", "1", %{qos: 2}}})
    assert recv(client) == <<0x34, 6, 1::16, "a", 1::16, "1">>
    close(client)
    assert_receive {:terminate, _, _}
    :ok = Session.publish(session, "b", "2", %{qos: 1, retain: true})

    stored = Session.export(session)
    assert {:ok, copy} = Session.import(stored)
    keys = [:queued, :inflight, :received, :expiry_interval]
    assert Map.take(Session.info(copy), keys) == Map.take(Session.info(session), keys)
    assert Session.subscriptions(copy) == Session.subscriptions(session)

    {port, opts} = serve_session(:tcp, copy)
    client = resume(port, opts, 1)
    assert recv(client) == <<0x3C, 6, 1::16, "a", 1::16, "1">>
    assert <<0x33, 6, 1::16, "b", _::16, "2">> = recv(client)
    send_bytes(client, <<0x62, 2, 9::16>>)
    assert recv(client) == <<0x70, 2, 9::16>>

    assert {:error, :invalid} = Session.import("")
    assert {:error, :invalid} = Session.import(stored <> "x")
    assert {:error, :invalid} = Session.import(binary_part(stored, 0, byte_size(stored) - 1))
  end

  describe "a callback that answers when its client is back already" do
    # The first message's callback waits for `:go`, and publishes then.
    defp slow do
      fn _topic, message, _opts, state ->
        if message == "slow" do
          receive do: (:go -> :ok)
          {:ok, state, {:publish, "late", "", %{qos: 1}}}
        else
          {:ok, state}
        end
      end
    end

    defp open_slow(session) do
      {port, opts} = serve_session(:tcp, session, %{handle_publish: slow()})
      client = resume(port, opts, 0)
      assert_receive {:init, pid, _}
      send_bytes(client, <<0x34, 9, 1::16, "a", 7::16, "slow">>)
      assert_receive {:handle_publish, _}
      {port, opts, pid}
    end

    defp go(pid) do
      ref = Process.monitor(pid)
      send(pid, :go)
      assert_receive {:DOWN, ^ref, _, _, _}
    end

    test "takes no other message for its own [MQTT-4.3.3-12]" do
      {port, opts, pid} = open_slow(Session.new())
      # It sends it again, with what the callback answers at once.
      client = resume(port, opts, 1)
      send_bytes(client, <<0x3C, 7, 1::16, "a", 7::16, "it">>)
      assert recv(client) == <<0x50, 2, 7::16>>
      send_bytes(client, <<0x62, 2, 7::16>>)
      assert recv(client) == <<0x70, 2, 7::16>>
      go(pid)
      assert <<0x32, _, 4::16, "late", _::16>> = recv(client)
      send_bytes(client, <<0x34, 8, 1::16, "a", 7::16, "new">>)
      assert recv(client) == <<0x50, 2, 7::16>>
      assert_receive {:handle_publish, ["a", "it", _]}
      assert_receive {:handle_publish, ["a", "new", _]}
    end

    test "changes no subscription, about which the client was not told [MQTT-3.8.4-3]" do
      session = Session.new()
      test = self()

      wait = fn result ->
        send(test, {:asked, self()})
        receive do: (:go -> result)
      end

      functions = %{
        handle_subscribe: fn _filter, qos, _options, state -> wait.({:ok, qos, state}) end,
        handle_unsubscribe: fn _filter, _options, state -> wait.({:ok, state}) end
      }

      {port, opts} = serve_session(:tcp, session, functions)
      subscribe = <<0x82, 6, 1::16, 1::16, "a", 0>>
      filters = fn -> for {filter, _} <- Session.subscriptions(session), do: filter end
      client = resume(port, opts, 0)
      send_bytes(client, subscribe)
      assert_receive {:asked, pid}
      client = resume(port, opts, 1)
      go(pid)
      assert filters.() == []

      send_bytes(client, subscribe)
      assert_receive {:asked, pid}
      send(pid, :go)
      assert <<0x90, 3, 1::16, 0>> = recv(client)
      send_bytes(client, <<0xA2, 5, 2::16, 1::16, "a">>)
      assert_receive {:asked, ^pid}
      resume(port, opts, 1)
      go(pid)
      assert filters.() == ["a"]
    end

    test "says nothing to a session that has begun anew" do
      session = Session.new()
      {port, opts, pid} = open_slow(session)
      client = connect(port, opts)
      go(pid)
      send_bytes(client, <<0x34, 8, 1::16, "a", 7::16, "new">>)
      assert recv(client) == <<0x50, 2, 7::16>>
      assert_receive {:handle_publish, ["a", "new", _]}
      assert %{queued: 0, inflight: 0} = Session.info(session)
    end
  end

  describe "what comes in one segment with the end" do
    @disconnect <<0xE0, 0>>

    test "of QoS 2 is not given to the handler again [MQTT-4.3.3-10]" do
      session = Session.new()
      {port, opts} = serve_session(:tcp, session)
      client = resume(port, opts, 0)
      send_bytes(client, [<<0x34, 6, 1::16, "a", 7::16, "x">>, @disconnect])
      assert_receive {:handle_publish, _}
      assert_receive {:terminate, :normal, _}
      client = resume(port, opts, 1)
      send_bytes(client, <<0x3C, 6, 1::16, "a", 7::16, "x">>)
      assert recv(client) == <<0x50, 2, 7::16>>
      refute_received {:handle_publish, _}
    end

    test "and was published because of it waits for the next connection" do
      session = Session.new()

      echo = fn topic, message, _opts, state ->
        {:ok, state, {:publish, topic, message, %{qos: 1}}}
      end

      {port, opts} = serve_session(:tcp, session, %{handle_publish: echo})
      client = resume(port, opts, 0)
      send_bytes(client, [publish_packet("a", "x"), @disconnect])
      assert_receive {:terminate, :normal, _}
      client = resume(port, opts, 1)
      assert <<0x32, 6, 1::16, "a", _::16, "x">> = recv(client)
    end

    test "acknowledges what was sent" do
      {port, opts} = serve_session(:tcp, Session.new())
      client = resume(port, opts, 0)
      assert_receive {:init, pid, _}
      :acted = GenServer.call(pid, {:act, {:publish, "a", "x", %{qos: 1, ref: :mine}}})
      assert <<0x32, 6, 1::16, "a", id::16, "x">> = recv(client)
      send_bytes(client, [<<0x40, 2, id::16>>, @disconnect])
      assert_receive {:handle_delivered, [:mine, :ok]}
      assert_receive {:terminate, :normal, _}
      refute_received {:handle_delivered, _}
    end
  end

  test "a reference without handle_delivered/3 does no harm" do
    {port, opts} = serve(:tcp, MQTT.Test.Faulty, {self(), nil})
    client = connect(port, opts)
    assert_receive {:connected, pid, _}
    :acted = GenServer.call(pid, {:act, {:publish, "a", "x", %{qos: 1, ref: :mine}}})
    close(client)
    assert_receive {:terminate, {:shutdown, :closed}, _}
  end

  test "emptying the session of a connected client leaves what is under way" do
    session = Session.new()
    {port, opts} = serve_session(:tcp, session, %{}, max_inflight: 2)
    client = resume(port, opts, 0)
    for n <- 1..3, do: :ok = Session.publish(session, "a", "#{n}", %{qos: 1})
    for n <- 1..2, do: assert(<<0x32, 6, 1::16, "a", ^n::16, _>> = recv(client))
    :ok = Session.clear(session)
    send_bytes(client, [<<0x40, 2, 1::16>>, <<0x40, 2, 2::16>>])
    :ok = Session.publish(session, "a", "4", %{qos: 1})
    assert <<0x32, 6, 1::16, "a", _::16, "4">> = recv(client)
  end

  test "a session that has ended with its connection begins anew" do
    session = Session.new()
    {port, opts} = serve_session(:tcp, session)
    client = connect(port, opts)
    assert_receive {:init, pid, _}
    ref = Process.monitor(pid)
    close(client)
    assert_receive {:DOWN, ^ref, _, _, _}
    :ok = Session.publish(session, "a", "x", %{qos: 1})
    client = resume(port, opts, 0)
    assert_open(client)
  end

  test "{:session, :new} has the limits of the connection" do
    init = fn _params, state -> {:ok, state, {:session, :new}} end
    args = Scripted.with_functions(%{init: init})
    {port, opts} = serve(:tcp, Scripted, args, options: [max_session_messages: 1])
    client = open(port, opts)
    send_bytes(client, @kept)
    assert recv(client) == <<0x20, 2, 0, 0>>
    close(client)
    assert_receive {:terminate, _, session}
    assert :ok = Session.publish(session, "a", "x", %{qos: 1})
    assert {:error, :queue_full} = Session.publish(session, "a", "x", %{qos: 1})
  end

  test "it holds as much as it may" do
    session = Session.new(max_session_messages: 2)
    assert :ok = Session.publish(session, "a", "", %{qos: 1})
    assert :ok = Session.publish(session, "a", "", %{qos: 1})
    assert {:error, :queue_full} = Session.publish(session, "a", "", %{qos: 1})
    session = Session.new(max_session_bytes: 1_000)
    before = Session.info(session).size
    assert :ok = Session.publish(session, "a", String.duplicate("x", 1_000), %{qos: 1})
    assert {:error, :queue_full} = Session.publish(session, "a", "", %{qos: 1})
    assert Session.info(session).size - before >= 1_000
    assert :ok = Session.clear(session)
    assert Session.info(session).size < before + 1_000
    assert Session.info(session).dropped == 2
  end

  test "what cannot be published raises" do
    session = Session.new()

    for {topic, message, options, text} <- [
          {"a/#", "", %{}, "wildcard in topic name"},
          {:a, "", %{}, "topic is no iodata"},
          {"a", "", [qos: 3], "qos is not 0 or 1 or 2"},
          {"a", "", %{properties: %{topic_alias: 1}}, "property not allowed"}
        ] do
      assert_raise ArgumentError, ~r/#{text}/, fn ->
        Session.publish(session, topic, message, options)
      end
    end

    assert_raise ArgumentError, ~r/:max_session_messages of MQTT.Session/, fn ->
      Session.new(max_session_messages: 0)
    end
  end
end
