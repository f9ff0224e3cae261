defmodule MQTT.PollerTest do
  # Not async: there is one poller, and it is taken away.
  use ExUnit.Case, async: false

  import MQTT.Test.Residue, only: [eventually: 1]
  import MQTT.Test.Wire

  alias MQTT.Server.Poller
  alias MQTT.Test.{Acceptor, Emulator, Faulty, Program}

  for transport <- [:tcp, :listener] do
    describe "over #{transport}" do
      setup do
        %{
          port: Acceptor.start(transport: unquote(transport), module: Faulty, args: {self(), nil})
        }
      end

      test "a message and the end right behind it are both seen", %{port: port} do
        for _ <- 1..300 do
          client = connect(port)
          assert_receive {:connected, pid, _}
          ref = Process.monitor(pid)
          send_bytes(client, publish_packet("echo", "last"))
          :ok = :gen_tcp.shutdown(client.socket, :write)
          assert_receive {:DOWN, ^ref, _, _, _}, 5_000
          assert recv(client) == publish_packet("echo", "last")
          assert_closed(client)
        end
      end

      test "a CONNECT that fills a read, and more behind it", %{port: port} do
        client = open(port)
        # The server waits for it, so that it is told of these bytes once.
        send_bytes(client, <<0x10>>)
        Process.sleep(50)
        will = fn size -> %{topic: "w", payload: String.duplicate("x", size)} end
        empty = byte_size(connect_packet(will: will.(0)))
        # Its length takes a byte more.
        connect = connect_packet(will: will.(16 * 1024 + 1 - empty - 1))
        assert byte_size(connect) == 16 * 1024 + 1
        <<0x10, rest::binary>> = connect
        send_bytes(client, [rest, publish_packet("echo", "behind")])
        assert recv(client) == <<0x20, 2, 0, 0>>
        assert recv(client) == publish_packet("echo", "behind")
        assert_open(client)
      end

      test "a large CONNECT in two parts, and more behind it", %{port: port} do
        client = open(port)
        will = fn size -> %{topic: "w", payload: String.duplicate("x", size)} end
        empty = byte_size(connect_packet(will: will.(0)))
        # Behind the first part there is room for four times as much, and 4 KiB beside it.
        size = 4 * 5_000 + 4_096
        connect = connect_packet(will: will.(size - empty - 2))
        assert byte_size(connect) == size
        <<first::binary-size(5_000), rest::binary>> = connect
        send_bytes(client, first)
        Process.sleep(50)
        send_bytes(client, [rest, publish_packet("echo", "behind")])
        assert recv(client) == <<0x20, 2, 0, 0>>
        assert recv(client) == publish_packet("echo", "behind")
      end

      test "nothing is missed while there is no poller", %{port: port} do
        clients = for _ <- 1..20, do: connect(port)

        :ok = Supervisor.terminate_child(MQTT.Supervisor, Poller)
        for client <- clients, do: send_bytes(client, <<0xC0, 0>>)
        assert {:ok, _} = Supervisor.restart_child(MQTT.Supervisor, Poller)
        for client <- clients, do: assert(recv(client) == <<0xD0, 0>>)
      end
    end
  end

  test "a connection looks for itself when its client should have been heard of, where there is none" do
    port = Acceptor.start(transport: :tcp, module: Faulty, args: {self(), nil})
    client = connect(port, connect: connect_packet(keep_alive: 1))
    :ok = Supervisor.terminate_child(MQTT.Supervisor, Poller)
    assert_open(client)
    assert {:ok, _} = Supervisor.restart_child(MQTT.Supervisor, Poller)
    assert_open(client)
  end

  test "a connection starts one where the application has none, which then takes it" do
    port = Acceptor.start(transport: :tcp, module: Faulty, args: {self(), nil})
    :ok = Supervisor.terminate_child(MQTT.Supervisor, Poller)
    assert Process.whereis(Poller) == nil
    client = connect(port)
    assert_open(client)
    pid = Process.whereis(Poller)
    assert Supervisor.restart_child(MQTT.Supervisor, Poller) == {:ok, pid}
    assert_open(client)
    Process.exit(pid, :kill)
    eventually(fn -> assert Process.whereis(Poller) not in [nil, pid] end)
    assert_open(client)
  end

  test "a poller that ends while it looks is followed by one that is told" do
    port = Acceptor.start(transport: :tcp, module: Faulty, args: {self(), nil})
    client = connect(port)

    for _ <- 1..20 do
      # A client that waits for each answer has it look again and again.
      for _ <- 1..20, do: assert_open(client)
      :ok = Supervisor.terminate_child(MQTT.Supervisor, Poller)
      {:ok, _} = Supervisor.restart_child(MQTT.Supervisor, Poller)
    end

    assert_open(client)
  end

  test "the driver stays" do
    path = :filename.join(:code.priv_dir(:mqtt), ~c"native")
    assert :erl_ddll.load(path, ~c"mqtt_nif") == {:error, :permanent}
    assert :erl_ddll.unload(~c"mqtt_nif") == {:error, :permanent}
  end

  test "a port of the driver that is another's leaves the process alone" do
    {:ok, other} = Agent.start(fn -> Port.open({:spawn_driver, ~c"mqtt_nif"}, []) end)
    :ok = Supervisor.terminate_child(MQTT.Supervisor, Poller)
    {:ok, _} = Supervisor.restart_child(MQTT.Supervisor, Poller)
    client = connect(Acceptor.start(transport: :tcp, module: Faulty, args: {self(), nil}))
    # A scheduler tells of each message for either port.
    for _ <- 1..500, do: assert_open(client)
    Agent.stop(other)
    assert_open(client)
  end

  test "a poller whose port is closed has a successor" do
    port = Acceptor.start(transport: :tcp, module: Faulty, args: {self(), nil})
    client = connect(port)
    ref = Process.monitor(Poller)
    Port.close(:sys.get_state(Poller))
    assert_receive {:DOWN, ^ref, _, _, {:shutdown, :port_closed}}
    eventually(fn -> assert Process.whereis(Poller) != nil end)
    assert_open(client)
  end

  for {what, code} <- [
        {"goes on when the application stops, and when it starts again",
         ~S"""
         :ok = Application.stop(:mqtt)
         for _ <- 1..3, do: come.()
         {:ok, _} = Application.ensure_all_started(:mqtt)
         for _ <- 1..3, do: come.()
         """},
        {"listens again that was suspended when the application stopped",
         ~S"""
         :ok = MQTT.Listener.suspend(listener)
         :ok = Application.stop(:mqtt)
         :ok = MQTT.Listener.resume(listener)
         for _ <- 1..3, do: come.()
         """},
        {"has another poller when that is killed which the application left",
         ~S"""
         :ok = Application.stop(:mqtt)
         come.()
         Process.exit(Process.whereis(MQTT.Server.Poller), :kill)
         for _ <- 1..3, do: come.()
         """}
      ] do
    test "a listener of another tree #{what}" do
      come = ~S"""
      come = fn ->
        {:ok, client} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false])
        :ok = :gen_tcp.send(client, <<0x10, 13, 4::16, "MQTT", 4, 2, 0, 0, 1::16, "c">>)
        {:ok, <<0x20, 2, 0, 0>>} = :gen_tcp.recv(client, 4, 2_000)
        :gen_tcp.close(client)
      end

      Logger.configure(level: :none)
      """

      run(Emulator.listener() <> come <> unquote(code))
    end
  end

  test "connections of another tree go on when the application stops, and when it starts again" do
    run(~S"""
    defmodule Echoes do
      use MQTT.Server
      def init(_, _), do: {:ok, nil}
      def handle_publish(topic, message, _opts, s), do: {:ok, s, {:publish, topic, message}}
    end

    {:ok, listener} = :gen_tcp.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}])
    {:ok, port} = :inet.port(listener)

    :proc_lib.spawn(fn ->
      {:ok, socket} = :gen_tcp.accept(listener)
      MQTT.Server.enter_loop(Echoes, [], MQTT.Transport.new(:tcp, socket))
    end)

    {:ok, client} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false])
    say = fn bytes, answer ->
      :ok = :gen_tcp.send(client, bytes)
      {:ok, ^answer} = :gen_tcp.recv(client, byte_size(answer), 2_000)
    end

    say.(<<0x10, 13, 4::16, "MQTT", 4, 2, 0, 0, 1::16, "c">>, <<0x20, 2, 0, 0>>)
    say.(<<0x30, 4, 0, 1, "t", "a">>, <<0x30, 4, 0, 1, "t", "a">>)
    Logger.configure(level: :none)
    :ok = Application.stop(:mqtt)
    for _ <- 1..3, do: say.(<<0x30, 4, 0, 1, "t", "b">>, <<0x30, 4, 0, 1, "t", "b">>)
    {:ok, _} = Application.ensure_all_started(:mqtt)
    for _ <- 1..3, do: say.(<<0x30, 4, 0, 1, "t", "c">>, <<0x30, 4, 0, 1, "t", "c">>)
    """)
  end

  # In a virtual machine of its own, which may be without what is stopped or killed here.
  defp run(code) do
    program = Program.open(Emulator.command(code <> ~S|IO.puts("went on")|))
    assert Program.lines(program) == ["went on"]
  end
end
