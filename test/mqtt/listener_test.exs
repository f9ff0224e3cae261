defmodule MQTT.ListenerTest do
  use ExUnit.Case, async: true
  doctest MQTT.Listener

  import MQTT.Test.Residue, only: [eventually: 1]
  import MQTT.Test.Wire

  alias MQTT.Test.{Emulator, Faulty, Program}

  @local {127, 0, 0, 1}

  defp listen(options \\ []) do
    options = [ip: @local, port: 0, handler: {Faulty, {self(), nil}}] |> Keyword.merge(options)
    listener = start_supervised!({MQTT.Listener, options})
    {listener, MQTT.Listener.info(listener).port}
  end

  test "many listeners side by side, each with a port and an id of its own" do
    {one, first} = listen()
    {two, second} = listen()
    assert one != two
    assert first != second
    for port <- [first, second], do: port |> connect() |> close()
    id = fn options -> MQTT.Listener.child_spec(options).id end
    assert id.(port: 0) != id.(port: 0)
    assert id.(port: 1) == id.(port: 1)
    assert id.(port: 1) != id.(port: 2)
    assert id.(port: 1, ip: {127, 0, 0, 1}) != id.(port: 1, ip: {127, 0, 0, 2})
    assert id.(port: 1, name: :one) != id.(port: 1, name: :two)
    assert id.(id: :mine) == :mine
  end

  defp compile(body) do
    source = "use MQTT.Server\ndef init(s, _), do: {:ok, s}\n" <> body
    module = __MODULE__.Changing
    :code.purge(module)
    :code.delete(module)
    Module.create(module, Code.string_to_quoted!(source), Macro.Env.location(__ENV__))
    module
  end

  test "a handler that is compiled anew has other callbacks" do
    module = compile("")
    {_, port} = listen(handler: {module, nil})
    subscribe = <<0x82, 6, 1::16, 1::16, "a", 0>>

    for {body, code} <- [
          {"def handle_subscribe(_, qos, _, s), do: {:ok, qos, s}", 0},
          {"", 0x80}
        ] do
      compile(body)
      client = connect(port)
      send_bytes(client, subscribe)
      assert recv(client) == <<0x90, 3, 1::16, code>>
    end
  end

  test "a name" do
    {listener, _} = listen(name: :named_listener)
    assert Process.whereis(:named_listener) == listener
    assert MQTT.Listener.info(:named_listener).address == @local
  end

  @tag :ipv6
  test "all of IPv6 and IPv4" do
    {_, port} = listen(ip: {0, 0, 0, 0, 0, 0, 0, 0})
    port |> connect() |> close()
    assert_receive {:connected, pid, _}
    assert is_pid(pid)
  end

  @tag :ipv6
  test "IPv6 alone" do
    {listener, port} = listen(ip: {0, 0, 0, 0, 0, 0, 0, 1}, ipv6_only: true)
    assert MQTT.Listener.info(listener).address == {0, 0, 0, 0, 0, 0, 0, 1}
    {:ok, socket} = :gen_tcp.connect({0, 0, 0, 0, 0, 0, 0, 1}, port, [:binary, active: false])
    :ok = :gen_tcp.send(socket, connect_packet())
    assert {:ok, <<0x20, 2, 0, 0>>} = :gen_tcp.recv(socket, 4)
    assert {:error, :econnrefused} = :gen_tcp.connect(@local, port, [])
  end

  test "an address that cannot be bound is an error that says so" do
    {_, port} = listen()
    Process.flag(:trap_exit, true)
    options = [ip: @local, port: port, handler: {Faulty, {self(), nil}}]

    assert MQTT.Listener.start_link(options) == {:error, {:shutdown, {:listen, :eaddrinuse}}}
  end

  describe "info/1" do
    test "counts what came" do
      {listener, port} = listen(max_connections: 2)

      assert %{connections: 0, accepted: 0, refused: 0, unconnected: 0} =
               MQTT.Listener.info(listener)

      one = connect(port)
      two = connect(port)
      three = open(port)
      assert_closed(three)

      assert %{connections: 2, accepted: 2, refused: 1, suspended: false} =
               MQTT.Listener.info(listener)

      close(one)
      eventually(fn -> assert MQTT.Listener.info(listener).connections == 1 end)
      garbage = open(port)
      send_bytes(garbage, "GET / HTTP/1.1\r\n\r\n")
      assert_closed(garbage)

      eventually(fn ->
        assert %{connections: 1, accepted: 3, unconnected: 1} = MQTT.Listener.info(listener)
      end)

      close(two)
    end
  end

  describe "limits" do
    test "by address" do
      {listener, port} = listen(max_connections_per_ip: 1)
      client = connect(port)
      refused = open(port)
      assert_closed(refused)
      assert MQTT.Listener.info(listener).refused == 1
      close(client)
      eventually(fn -> assert MQTT.Listener.info(listener).connections == 0 end)
      port |> connect() |> close()
    end
  end

  describe "before CONNECT no process is started" do
    test "for garbage, for other packets, and for parts that go no further" do
      {listener, port} = listen(connect_timeout: 300)

      {_, connections, _, _} =
        listener |> Supervisor.which_children() |> List.keyfind(MQTT.Listener.Connections, 0)

      :erlang.trace(connections, true, [:procs])

      refused = [
        "GET / HTTP/1.1\r\n\r\n",
        <<0xC0, 0>>,
        publish_packet("a", "b"),
        <<0x20, 2, 0, 0>>,
        <<0>>,
        # A Remaining Length of five bytes, and one over max_connect_size.
        <<0x10, 0xFF, 0xFF, 0xFF, 0xFF, 1>>,
        <<0x10, 0xFF, 0xFF, 0x7F>>
      ]

      for bytes <- refused do
        client = open(port)
        send_bytes(client, bytes)
        assert_closed(client)
      end

      slow = open(port)
      send_bytes(slow, <<0x10, 13, 0, 4>>)
      silent = open(port)
      assert_closed(slow)
      assert_closed(silent)
      eventually(fn -> assert MQTT.Listener.info(listener).unconnected == 9 end)
      refute_received {:trace, _, :spawn, _, _}
      # It would have been seen.
      port |> connect() |> close()
      assert_receive {:trace, ^connections, :spawn, _, _}
    end

    test "for versions that are not ours, which are answered [MQTT-3.1.2-2]" do
      {listener, port} = listen()

      <<head::binary-size(8), 4, rest::binary>> = connect_packet()
      client = open(port)
      send_bytes(client, <<head::binary, 6, rest::binary>>)
      assert recv(client) == <<0x20, 2, 0, 1>>
      assert_closed(client)
      assert connection_processes(listener) == 0
    end

    test "for an empty client identifier without a clean session [MQTT-3.1.3-8]" do
      {listener, port} = listen()
      client = open(port)
      send_bytes(client, connect_packet(client_id: "", clean_start: false))
      assert recv(client) == <<0x20, 2, 0, 2>>
      assert_closed(client)
      assert connection_processes(listener) == 0
    end
  end

  test "CONNECT in pieces, and packets right behind it" do
    {_, port} = listen()
    client = open(port)
    {head, tail} = :erlang.split_binary(connect_packet(), 7)
    send_bytes(client, head)
    refute_receive {:connected, _, _}, 50
    send_bytes(client, [tail, publish_packet("echo", "early"), <<0xC0, 0>>])
    assert recv(client) == <<0x20, 2, 0, 0>>
    assert recv(client) == publish_packet("echo", "early")
    assert recv(client) == <<0xD0, 0>>
  end

  test "suspend/1 refuses new clients and keeps the others, resume/1 takes them again" do
    {listener, port} = listen()
    client = connect(port)
    assert MQTT.Listener.suspend(listener) == :ok
    assert MQTT.Listener.suspend(listener) == :ok
    assert MQTT.Listener.info(listener).suspended
    assert {:error, :econnrefused} = :gen_tcp.connect(@local, port, [])
    assert_open(client)
    assert MQTT.Listener.resume(listener) == :ok
    assert MQTT.Listener.resume(listener) == :ok
    assert %{suspended: false, port: ^port} = MQTT.Listener.info(listener)
    port |> connect() |> close()
    assert_open(client)
  end

  test "resume/1 says why it cannot" do
    {listener, port} = listen()
    :ok = MQTT.Listener.suspend(listener)
    {:ok, other} = :gen_tcp.listen(port, ip: @local)
    assert MQTT.Listener.resume(listener) == {:error, :eaddrinuse}
    :gen_tcp.close(other)
    assert MQTT.Listener.resume(listener) == :ok
  end

  test "when it stops, terminate/2 runs, and gets no more than shutdown_timeout" do
    defmodule Stubborn do
      use MQTT.Server
      def init(test, _params), do: send(test, :connected) && {:ok, test}

      def terminate(reason, test) do
        send(test, {:terminate, reason})
        Process.sleep(:infinity)
      end
    end

    options = [
      ip: @local,
      port: 0,
      handler: {Stubborn, self()},
      shutdown_timeout: 50,
      id: :stubborn
    ]

    listener = start_supervised!({MQTT.Listener, options})
    client = connect(MQTT.Listener.info(listener).port)
    assert_receive :connected
    started = System.monotonic_time(:millisecond)
    assert stop_supervised(:stubborn) == :ok
    # Not the default, which is 15 s.
    assert System.monotonic_time(:millisecond) - started < 10_000
    assert_receive {:terminate, :shutdown}
    assert_closed(client)
  end

  test "the process of the socket crashes and comes back, and the connections stay" do
    {listener, port} = listen(name: :crashing)
    client = connect(port)

    {_, socket, _, _} =
      listener |> Supervisor.which_children() |> List.keyfind(MQTT.Listener.Socket, 0)

    ref = Process.monitor(socket)
    Process.exit(socket, :kill)
    assert_receive {:DOWN, ^ref, _, _, :killed}
    eventually(fn -> assert %{port: ^port, connections: 1} = MQTT.Listener.info(listener) end)
    assert_open(client)
    # It is the same listener: a new client is served, and counts.
    another = connect(port)
    assert MQTT.Listener.info(listener).accepted == 2
    close(another)
  end

  test "when the supervisor of the connections dies, they end, and the listener goes on" do
    {listener, port} = listen()
    client = connect(port)

    {_, connections, _, _} =
      listener |> Supervisor.which_children() |> List.keyfind(MQTT.Listener.Connections, 0)

    Process.exit(connections, :kill)
    assert_closed(client)
    eventually(fn -> port |> connect() |> close() end)
    assert MQTT.Listener.info(listener).port == port
  end

  test "it stops when its connections have ended, however long they may take" do
    {_listener, port} = listen(id: :patient, shutdown_timeout: :infinity)
    clients = for _ <- 1..50, do: connect(port)
    assert stop_supervised(:patient) == :ok
    for client <- clients, do: assert_closed(client)
  end

  test "a suspended listener stays so when the process of its socket comes back" do
    {listener, port} = listen()
    :ok = MQTT.Listener.suspend(listener)

    {_, socket, _, _} =
      listener |> Supervisor.which_children() |> List.keyfind(MQTT.Listener.Socket, 0)

    ref = Process.monitor(socket)
    Process.exit(socket, :kill)
    assert_receive {:DOWN, ^ref, _, _, :killed}
    eventually(fn -> assert MQTT.Listener.info(listener).suspended end)
    assert {:error, :econnrefused} = :gen_tcp.connect(@local, port, [])
    :ok = MQTT.Listener.resume(listener)
    port |> connect() |> close()
  end

  test "one that stops and starts again on its port, at once and many times" do
    {listener, port} = listen(id: :again)
    assert is_pid(listener)

    for _ <- 1..20 do
      client = connect(port)
      assert stop_supervised(:again) == :ok
      listen(id: :again, port: port)
      close(client)
    end
  end

  test "clients for whom there are no descriptors wait until there are" do
    # A virtual machine of its own, with few.
    {elixir, arguments} = Emulator.command(Emulator.listener() <> "IO.puts(port); IO.read(:eof)")
    limited = ["-c", ~s(ulimit -n 100 && exec "$0" "$@"), elixir | arguments]
    {server, port} = Program.start({System.find_executable("sh"), limited}, ~r/^(\d+)$/)
    port = String.to_integer(port)
    # What one needs is loaded by now.
    port |> connect() |> close()
    clients = for _ <- 1..150, do: open(port)
    for client <- clients, do: send_bytes(client, connect_packet())
    # As they came.
    Enum.each(clients, fn client ->
      assert recv(client) == <<0x20, 2, 0, 0>>
      close(client)
    end)

    Program.kill(server)
  end

  describe "options" do
    test "wrong ones raise with a sentence that names them" do
      handler = {Faulty, {self(), nil}}

      for {options, message} <- [
            {[], "option :handler of MQTT.Listener is required; it must be `{module, args}`"},
            {[handler: Faulty],
             "option :handler of MQTT.Listener must be `{module, args}` with a module"},
            {[handler: {Nowhere, []}], "option :handler of MQTT.Listener must be"},
            {[handler: handler, port: 65_536],
             "option :port of MQTT.Listener must be an integer from 0 to 65535, got: 65536"},
            {[handler: handler, ip: "127.0.0.1"],
             "option :ip of MQTT.Listener must be an address"},
            {[handler: handler, prot: 1],
             "unknown option :prot of MQTT.Listener; allowed are :handler, :port,"},
            {[handler: handler, max_connections: 0],
             "option :max_connections of MQTT.Listener must be a positive integer below 2^63 or `:infinity`, got: 0"},
            {[handler: handler, slow_peer: :wait],
             "option :slow_peer of MQTT.Listener must be one of `:block`, `:drop`, `:close`, got: :wait"},
            {[handler: handler, connect_timeout: 0],
             "option :connect_timeout of MQTT.Listener must be a number of milliseconds"},
            {[handler: handler, keep_socket: true], "unknown option :keep_socket"},
            {[handler: handler, name: "x"], "option :name of MQTT.Listener must be an atom"},
            {[handler: handler, ipv6_only: 1],
             "option :ipv6_only of MQTT.Listener must be `true` or `false`"},
            {:none, "the options of MQTT.Listener must be a keyword list"}
          ] do
        error = assert_raise ArgumentError, fn -> MQTT.Listener.start_link(options) end
        assert error.message =~ message
      end
    end
  end

  defp connection_processes(listener) do
    {_, connections, _, _} =
      listener |> Supervisor.which_children() |> List.keyfind(MQTT.Listener.Connections, 0)

    Supervisor.count_children(connections).active
  end
end
