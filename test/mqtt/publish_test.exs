defmodule MQTT.PublishTest do
  use MQTT.Test.Compat
  doctest MQTT.Server, only: [publish: 4, connection: 0]

  alias MQTT.{Server, Session, Test.Scripted}

  # Servers whose connections are told to the test, which keeps them.
  defp serve_scripted(transport, options \\ [], actions \\ []) do
    test = self()

    init = fn params, state ->
      send(test, {:connection, params.client_id, Server.connection()})
      {:ok, state, actions}
    end

    args = Scripted.with_functions(%{init: init})
    serve(transport, Scripted, args, options: options)
  end

  defp connected({port, opts}, connect \\ connect_packet()) do
    client = open(port, opts)
    send_bytes(client, connect)
    assert <<0x20, _::binary>> = recv(client)
    assert_receive {:connection, _, connection}
    {client, connection}
  end

  test_each "a message reaches many connections" do
    server = serve_scripted(transport)
    {clients, connections} = Enum.unzip(for _ <- 1..70, do: connected(server))
    assert Server.publish(connections, ["a/", "b"], ["hel", "lo"]) == []
    assert Server.publish(connections, "a/b", "again", %{retain: true}) == []

    for client <- clients do
      assert recv(client) == publish_packet("a/b", "hello")
      assert recv(client) == <<0x31, 10, 3::16, "a/b", "again">>
    end
  end

  test_each "what is published when it is known what has become of a message comes behind what was to be published before" do
    handle_delivered = fn _ref, :ok, state -> {:ok, state, {:publish, "t", "told"}} end
    functions = %{handle_delivered: handle_delivered}
    {port, opts} = serve(transport, Scripted, Scripted.with_functions(functions))
    client = connect(port, opts)
    assert_receive {:init, pid, _}
    first = {:publish, "t", "0", %{ref: 0}}
    others = for n <- 1..1_500, do: {:publish, "t", "#{n}"}
    reply = {:reply, {self(), make_ref()}, :ok}

    # More than one call carries out, and with a reply behind the first.
    for actions <- [[first | others], [first, reply | Enum.take(others, 1)]] do
      GenServer.cast(pid, {:act, actions})
      messages = for {:publish, _, message} <- tl(actions), do: message
      packets = for message <- ["0"] ++ messages ++ ["told"], do: publish_packet("t", message)
      packets = IO.iodata_to_binary(packets)
      assert recv_bytes(client, byte_size(packets)) == packets
    end
  end

  for {whose, actions} <- [own: [], shared: [session: :new]] do
    test "a handler is told at once that another's message has taken the place of its own, in its #{whose} session" do
      options = [max_inflight: 1, max_session_messages: 2, session_overflow: :drop_oldest]
      {client, connection} = :tcp |> serve_scripted(options, unquote(actions)) |> connected()
      assert_receive {:init, pid, _}
      GenServer.cast(pid, {:act, for(n <- 1..2, do: {:publish, "a", "#{n}", %{qos: 1, ref: n}})})
      assert <<0x32, 6, 1::16, "a", _::16, "1">> = recv(client)
      # The client says nothing meanwhile.
      assert Server.publish([connection], "a", "other", %{qos: 1}) == []
      assert_receive {:handle_delivered, [2, {:error, :queue_full}]}
    end
  end

  test_each "messages that come to many processes one at a time, and more than one can write at once" do
    {port, opts} = serve(transport, Scripted, Scripted.with_functions())

    clients =
      for _ <- 1..200 do
        client = connect(port, opts)
        assert_receive {:init, pid, _}
        {client, pid}
      end

    publish = fn pid, message -> GenServer.cast(pid, {:act, {:publish, "t", message}}) end

    # The large one is not left to a writer, and nothing overtakes another.
    messages = for n <- 1..40, do: if(n == 20, do: :binary.copy("x", 10_000), else: "#{n}")
    for message <- messages, {_, pid} <- clients, do: publish.(pid, message)
    packets = IO.iodata_to_binary(for message <- messages, do: publish_packet("t", message))
    for {client, _} <- clients, do: assert(recv_bytes(client, byte_size(packets)) == packets)

    # What was left when the process ends is sent.
    for {_, pid} <- clients, do: publish.(pid, "last")
    for {_, pid} <- clients, do: :ok = Server.stop(pid)

    for {client, _} <- clients do
      assert recv(client) == publish_packet("t", "last")
      assert_closed(client)
    end
  end

  test_each "each connection has packet identifiers of its own" do
    server = serve_scripted(transport)
    {a, to_a} = connected(server)
    {b, to_b} = connected(server)
    assert Server.publish([to_a], "t", "only a", %{qos: 1}) == []
    assert Server.publish([to_b, to_a], "t", "both", %{qos: 2}) == []
    assert recv(a) == <<0x32, 11, 1::16, "t", 1::16, "only a">>
    assert recv(a) == <<0x34, 9, 1::16, "t", 2::16, "both">>
    assert recv(b) == <<0x34, 9, 1::16, "t", 1::16, "both">>
    send_bytes(b, <<0x50, 2, 1::16>>)
    assert recv(b) == <<0x62, 2, 1::16>>
  end

  test_each "a message that waits for a place is sent when there is one" do
    server = serve_scripted(transport, max_inflight: 1)
    {client, connection} = connected(server)
    for n <- 1..3, do: assert(Server.publish([connection], "t", "#{n}", %{qos: 1}) == [])

    for n <- 1..3 do
      assert <<0x32, 6, 1::16, "t", id::16, payload::binary>> = recv(client)
      assert payload == "#{n}"
      send_bytes(client, <<0x40, 2, id::16>>)
    end
  end

  test_each "large messages and small ones keep their order" do
    server = serve_scripted(transport)
    {client, connection} = connected(server)
    sizes = for n <- 1..200, do: if(rem(n, 7) == 0, do: 20_000 + n, else: n)

    for size <- sizes,
        do: assert(Server.publish([connection], "t", :binary.copy("x", size)) == [])

    for size <- sizes do
      packet = publish_packet("t", :binary.copy("x", size))
      assert recv_bytes(client, byte_size(packet)) == packet
    end
  end

  test_each "what was published before the connection ends is sent" do
    server = serve_scripted(transport)
    {client, connection} = connected(server)
    assert_receive {:init, pid, _}
    assert Server.publish([connection], "t", "last") == []
    :ok = Server.stop(pid)
    assert recv(client) == publish_packet("t", "last")
    assert_closed(client)
    assert Server.publish([connection], "t", "later") == [{connection, :not_connected}]
    assert Server.publish([connection], "t", "later", %{qos: 1}) == [{connection, :not_connected}]
  end

  test_each "a callback publishes to its own connection and to others" do
    test = self()

    publish = fn topic, message, _opts, state ->
      send(test, {:failed, Server.publish([Server.connection()], topic, message)})
      {:ok, state}
    end

    args = Scripted.with_functions(%{handle_publish: publish})
    {port, opts} = serve(transport, Scripted, args)
    client = connect(port, opts)
    send_bytes(client, publish_packet("a", "b"))
    assert recv(client) == publish_packet("a", "b")
    assert_receive {:failed, []}
  end

  test "a client of MQTT 5.0 has the properties, and its aliases and limits" do
    server = serve_scripted(:listener)
    {v4, to_v4} = connected(server)
    # Topic Alias Maximum 1, Maximum Packet Size 40.
    v5 = MQTT.Test.V5.connect(0x02, ["c"], <<0x22, 1::16, 0x27, 40::32>>)
    {v5, to_v5} = connected(server, v5)
    assert Server.publish([to_v4, to_v5], "t", "x", %{properties: %{content_type: "c"}}) == []
    assert recv(v4) == publish_packet("t", "x")
    assert recv(v5) == <<0x30, 12, 1::16, "t", 7, 3, 1::16, "c", 0x23, 1::16, "x">>
    long = :binary.copy("x", 40)
    assert Server.publish([to_v5, to_v4], "t", long) == [{to_v5, :packet_too_large}]
    assert recv(v4) == publish_packet("t", long)
  end

  test "a client that does not read gets what fits, and others get everything" do
    server = serve_scripted(:listener, max_queue_bytes: 100_000)
    {slow, to_slow} = connected(server)
    {client, connection} = connected(server)
    message = :binary.copy("x", 2_000)
    packet = publish_packet("t", message)

    failed =
      for _ <- 1..5_000 do
        failed = Server.publish([to_slow, connection], "t", message)
        assert recv_bytes(client, byte_size(packet)) == packet
        failed
      end

    assert {sent, [_ | _] = refused} = Enum.split_while(failed, &(&1 == []))
    assert Enum.all?(refused, &(&1 == [{to_slow, :queue_full}]))
    for _ <- sent, do: assert(recv_bytes(slow, byte_size(packet)) == packet)
  end

  test "what waits for a writer does not make a client a slow one" do
    server = serve_scripted(:listener, max_queue_bytes: 100, slow_peer: :close)
    {client, connection} = connected(server)
    message = :binary.copy("x", 80)
    for _ <- 1..100, do: assert(Server.publish([connection], "t", message) == [])
    for _ <- 1..100, do: assert(recv_bytes(client, 85) == publish_packet("t", message))
    assert_open(client)
  end

  test "with slow_peer: :close it is disconnected" do
    server = serve_scripted(:listener, max_queue_bytes: 100_000, slow_peer: :close)
    {_client, connection} = connected(server)
    message = :binary.copy("x", 20_000)

    full =
      Stream.repeatedly(fn -> Server.publish([connection], "t", message) end)
      |> Enum.find(&(&1 != []))

    assert full == [{connection, :queue_full}]
    assert_receive {:terminate, {:shutdown, :send_queue_full}, _}
  end

  test "a connection whose session was taken over gets nothing" do
    session = Session.new()
    server = serve_scripted(:listener, [], [{:session, session}])
    {_, first} = connected(server, connect_packet(clean_start: false))
    {second, to_second} = connected(server, connect_packet(clean_start: false))
    assert Server.publish([first, to_second], "t", "x", %{qos: 1}) == [{first, :not_connected}]
    assert recv(second) == <<0x32, 6, 1::16, "t", 1::16, "x">>
  end

  test "before CONNECT is accepted there is no connection to publish to" do
    test = self()

    init = fn _params, state ->
      connection = Server.connection()
      send(test, {:failed, connection, Server.publish([connection], "t", "x")})
      {:ok, state}
    end

    {port, opts} = serve(:listener, Scripted, Scripted.with_functions(%{init: init}))
    client = connect(port, opts)
    assert_receive {:failed, connection, failed}
    assert failed == [{connection, :not_connected}]
    assert_open(client)
  end

  test "many processes publish to the same connections, each in its order" do
    server = serve_scripted(:listener)
    {clients, connections} = Enum.unzip(for _ <- 1..5, do: connected(server))

    publishers =
      for p <- 1..4 do
        Task.async(fn ->
          for n <- 1..500, do: [] = Server.publish(connections, "#{p}", <<n::16>>, %{qos: 1})
        end)
      end

    for client <- clients do
      received =
        for _ <- 1..2_000 do
          assert <<0x32, 7, 1::16, topic::binary-1, id::16, n::16>> = recv_bytes(client, 9)
          send_bytes(client, <<0x40, 2, id::16>>)
          {topic, n}
        end

      for p <- 1..4 do
        assert for({topic, n} <- received, topic == "#{p}", do: n) == Enum.to_list(1..500)
      end
    end

    Task.await_many(publishers)
  end

  test "connections publish while others publish to them, and end, and nothing is lost or overtaken" do
    server = serve_scripted(:listener)
    {clients, connections} = Enum.unzip(for _ <- 1..20, do: connected(server))

    pids =
      for _ <- clients do
        assert_receive {:init, pid, _}
        pid
      end

    others =
      Task.async(fn -> for n <- 1..2_000, do: [] = Server.publish(connections, "a", <<n::16>>) end)

    own =
      Task.async(fn ->
        for n <- 1..300, pid <- pids, do: GenServer.cast(pid, {:act, {:publish, "b", <<n::16>>}})
      end)

    Task.await_many([others, own])
    for pid <- pids, do: :ok = Server.stop(pid)

    for client <- clients do
      received =
        for <<0x30, 5, 1::16, topic::binary-1, n::16 <- recv_all(client)>>, do: {topic, n}

      assert for({"a", n} <- received, do: n) == Enum.to_list(1..2_000)
      assert for({"b", n} <- received, do: n) == Enum.to_list(1..300)
    end
  end

  # A handler that publishes to `connection` and then waits, or ends at once.
  defp publish_and(what, connection) do
    test = self()

    publish = fn topic, message, _opts, state ->
      [] = Server.publish([connection], topic, message)
      send(test, {:published, self()})
      what.(state)
    end

    args = Scripted.with_functions(%{handle_publish: publish})
    {port, opts} = serve(:listener, Scripted, args)
    client = connect(port, opts)
    send_bytes(client, publish_packet("a", "b"))
    assert_receive {:published, pid}
    {client, pid}
  end

  test "a callback that takes long holds back nothing" do
    {reader, connection} = connected(serve_scripted(:listener))

    # Again after what was on hold has been written.
    wait = fn state ->
      receive do: (:publish -> Server.publish([connection], "a", "c"))
      receive do: (:go_on -> {:ok, state})
    end

    {client, pid} = publish_and(wait, connection)
    assert recv(reader) == publish_packet("a", "b")
    send(pid, :publish)
    assert recv(reader) == publish_packet("a", "c")
    send(pid, :go_on)
    assert_open(client)
  end

  test "what a process has published that is killed in its callback is sent" do
    {reader, connection} = connected(serve_scripted(:listener))
    {_client, _pid} = publish_and(fn _state -> Process.exit(self(), :kill) end, connection)
    assert recv(reader) == publish_packet("a", "b")
  end

  test "what a writer leaves behind that is killed, the next one writes" do
    server = serve_scripted(:listener)
    {client, connection} = connected(server)

    writers =
      for {{Server.Writer, _}, pid, _, _} <- Supervisor.which_children(MQTT.Supervisor), do: pid

    Enum.each(writers, &:erlang.suspend_process/1)
    assert Server.publish([connection], "t", "a") == []
    assert [writer] = Enum.filter(writers, &told?/1)
    Process.exit(writer, :kill)
    for pid <- writers, pid != writer, do: :erlang.resume_process(pid)
    assert recv(client) == publish_packet("t", "a")
    assert Server.publish([connection], "t", "b") == []
    assert recv(client) == publish_packet("t", "b")
  end

  # A moment that a test before waited for may come meanwhile as well.
  defp told?(writer) do
    {:messages, messages} = Process.info(writer, :messages)
    {:"$mqtt", :write} in messages
  end

  test "what cannot be published raises, as does what is no connection" do
    {_, connection} = connected(serve_scripted(:listener))

    assert_raise ArgumentError, "the message cannot be published: wildcard in topic name", fn ->
      Server.publish([connection], "a/#", "x")
    end

    for {connections, topic, message, options, sentence} <- [
          {[connection, make_ref()], "a", "x", %{}, "one of the connections is none"},
          {[connection | connection], "a", "x", %{}, "one of the connections is none"},
          {connection, "a", "x", %{}, "one of the connections is none"},
          {[connection], :a, "x", %{}, "topic is no iodata"},
          {[connection], "a", 1, %{}, "message is no iodata"},
          {[connection], "a", "x", [qos: 3], "qos is not 0 or 1 or 2"},
          {[connection], "a", "x", %{retain: 1}, "retain is neither true nor false"},
          {[connection], "a", "x", %{properties: [content_type: "x"]},
           "its properties must be a map whose keys are atoms"},
          {[connection], "a", "x", %{properties: %{content_type: :x}},
           "it cannot have the property :content_type, or not with the value :x"}
        ] do
      assert_raise ArgumentError, "the message cannot be published: #{sentence}", fn ->
        Server.publish(connections, topic, message, options)
      end
    end

    assert_raise ArgumentError, "options must be a map or a keyword list, got: :qos", fn ->
      Server.publish([connection], "a", "x", :qos)
    end

    assert Server.publish([], "a", "x") == []
    assert Server.connection() == nil
  end
end
