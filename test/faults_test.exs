defmodule MQTT.FaultsTest do
  # Not async: the native counters are those of the whole virtual machine.
  use ExUnit.Case, async: false

  import MQTT.Test.Compat, only: [test_each: 3]
  import MQTT.Test.Residue
  import MQTT.Test.Wire

  alias MQTT.Test.{Acceptor, Faulty, Reports}

  setup do
    %{before: before()}
  end

  defp serve(transport, fault \\ nil, options \\ []) do
    server = [module: Faulty, args: {self(), fault}, transport: transport, options: options]
    {Acceptor.start(server), [tls: transport == :ssl]}
  end

  defp connected(transport, fault \\ nil, options \\ []) do
    {port, opts} = serve(transport, fault, options)
    client = connect(port, opts)
    assert_receive {:connected, pid, "client"}
    {client, pid}
  end

  defp stop_servers do
    for {id, _, _, _} <- Supervisor.which_children(supervisor()), id != MQTT.Test.Residue do
      :ok = stop_supervised(id)
    end
  end

  defp listener do
    [listener] =
      for {_, pid, _, [MQTT.Listener]} <- Supervisor.which_children(supervisor()), do: pid

    listener
  end

  defp supervisor do
    {:ok, supervisor} = ExUnit.fetch_test_supervisor()
    supervisor
  end

  test_each "the owner is killed", %{before: before} do
    {client, pid} = connected(transport)
    Process.exit(pid, :kill)
    assert_closed(client)
    close(client)
    stop_servers()
    assert_none(before)
  end

  test_each "the peer vanishes", %{before: before} do
    Reports.subscribe()
    {client, pid} = connected(transport)
    ref = Process.monitor(pid)
    # Not a word, and not even a FIN.
    if transport == :ssl, do: close(client), else: abort(client)
    assert_receive {:DOWN, ^ref, _, _, reason} when reason in [{:shutdown, :closed}, :noproc]
    assert_receive {:terminate, {:shutdown, :closed}, _}
    refute_received {:report, ^pid, _}
    stop_servers()
    assert_none(before)
  end

  test_each "packets come byte by byte", %{before: before} do
    {port, opts} = serve(transport)
    client = open(port, opts)
    long = publish_packet("echo", String.duplicate("x", 300))
    subscribe = <<0x82, 6, 0, 1, 0, 1, "a", 0>>

    for packet <- [connect_packet(), long, subscribe, <<0xC0, 0>>],
        byte <- :binary.bin_to_list(packet) do
      send_bytes(client, <<byte>>)
    end

    assert recv(client) == <<0x20, 2, 0, 0>>
    assert recv(client) == long
    assert recv(client) == <<0x90, 3, 0, 1, 0>>
    assert recv(client) == <<0xD0, 0>>
    close(client)
    stop_servers()
    assert_none(before)
  end

  test_each "packets of every size, in pieces of every size", %{before: before} do
    {client, _} = connected(transport)
    sizes = [0, 64, 65, 100, 4_000, 16_000, 17_000, 70_000, 300_000, 1_000_000]

    packets =
      for size <- sizes, do: publish_packet("echo", :binary.copy(<<size::16>>, div(size, 2)))

    stream = IO.iodata_to_binary(packets)

    for piece <- [7_001, 66_000, byte_size(stream)] do
      sender =
        Task.async(fn -> for part <- pieces(stream, piece), do: send_bytes(client, part) end)

      for packet <- packets, do: assert(recv_bytes(client, byte_size(packet)) == packet)
      Task.await(sender)
    end

    close(client)
    stop_servers()
    assert_none(before)
  end

  defp pieces(stream, size) when byte_size(stream) <= size, do: [stream]

  defp pieces(stream, size) do
    {piece, rest} = :erlang.split_binary(stream, size)
    [piece | pieces(rest, size)]
  end

  describe "a handler that raises causes one report, and its connection ends" do
    @faults [
      publish: "publish",
      throw: :thrown,
      bad: :bad,
      wildcard: "wildcard in topic name",
      subscribe: "subscribe",
      unsubscribe: "unsubscribe",
      call: "call",
      cast: "cast",
      info: "info"
    ]

    for {fault, text} <- @faults do
      test "in #{fault}", %{before: before} do
        Reports.subscribe()
        {client, pid} = connected(:listener)
        ref = Process.monitor(pid)
        # So that it knows of the monitor before it ends.
        _ = :sys.get_state(pid)
        provoke(unquote(fault), client, pid)
        assert_receive {:DOWN, ^ref, _, _, reason}
        assert inspect(reason) =~ to_string(unquote(text))
        assert_receive {:terminate, ^reason, nil}
        assert_one_report(pid)
        assert_closed(client)
        close(client)
        stop_servers()
        assert_none(before)
      end
    end

    test "in init", %{before: before} do
      Reports.subscribe()
      {port, opts} = serve(:listener, :init)
      client = open(port, opts)
      send_bytes(client, connect_packet())
      assert_closed(client)
      assert_receive {:report, pid, {:gen_server, :terminate}}
      refute_more_reports(pid)
      close(client)
      stop_servers()
      assert_none(before)
    end

    test "in terminate", %{before: before} do
      Reports.subscribe()
      {client, pid} = connected(:listener, :terminate)
      send_bytes(client, <<0xE0, 0>>)
      assert_closed(client)
      assert_one_report(pid)
      close(client)
      stop_servers()
      assert_none(before)
    end

    test "in code_change, which only refuses the change" do
      {client, pid} = connected(:listener)
      :ok = :sys.suspend(pid)
      assert {:error, {:EXIT, _}} = :sys.change_code(pid, Faulty, 1, [])
      :ok = :sys.resume(pid)
      assert_open(client)
      close(client)
    end

    test "with the state that the callback before it left" do
      {client, _pid} = connected(:listener, 0)
      count = publish_packet("count", "")
      send_bytes(client, [count, count, publish_packet("raise", "")])
      assert_receive {:terminate, {%RuntimeError{}, _}, 2}
      assert_closed(client)
      close(client)
    end
  end

  defp provoke(:publish, client, _), do: send_bytes(client, publish_packet("raise", ""))
  defp provoke(:throw, client, _), do: send_bytes(client, publish_packet("throw", ""))
  defp provoke(:bad, client, _), do: send_bytes(client, publish_packet("bad", ""))
  defp provoke(:wildcard, client, _), do: send_bytes(client, publish_packet("wildcard", ""))

  defp provoke(:subscribe, client, _),
    do: send_bytes(client, <<0x82, 10, 0, 1, 0, 5, "raise", 0>>)

  defp provoke(:unsubscribe, client, _), do: send_bytes(client, <<0xA2, 9, 0, 1, 0, 5, "raise">>)
  defp provoke(:call, _, pid), do: spawn(fn -> catch_exit(GenServer.call(pid, :raise)) end)
  defp provoke(:cast, _, pid), do: GenServer.cast(pid, :raise)
  defp provoke(:info, _, pid), do: send(pid, :raise)

  defp assert_one_report(pid) do
    assert_receive {:report, ^pid, {:gen_server, :terminate}}
    refute_more_reports(pid)
  end

  # Until OTP 28 the crash report of proc_lib comes with each report of a gen_server.
  defp refute_more_reports(pid) do
    receive do
      {:report, ^pid, {:proc_lib, :crash}} -> :ok
    after
      100 -> :ok
    end

    refute_receive {:report, ^pid, _}, 100
  end

  test "1,000 clients connect and disconnect at once", %{before: before} do
    {port, _} = serve(:listener)

    1..1_000
    |> Task.async_stream(
      fn n ->
        client = connect(port, connect: connect_packet(client_id: "c#{n}"))
        if rem(n, 2) == 0, do: send_bytes(client, <<0xE0, 0>>)
        close(client)
      end,
      max_concurrency: 200,
      timeout: 30_000
    )
    |> Enum.each(&assert {:ok, _} = &1)

    for n <- 1..1_000 do
      id = "c#{n}"
      assert_receive {:connected, _, ^id}
      assert_receive {:terminate, reason, _} when reason in [:normal, {:shutdown, :closed}]
    end

    stop_servers()
    assert_none(before)
  end

  test "the listener is stopped under load", %{before: before} do
    Reports.subscribe()
    {port, _} = serve(:listener)

    clients =
      for n <- 1..50 do
        client = connect(port, connect: connect_packet(client_id: "c#{n}"))
        flood = publish_packet("echo", String.duplicate("x", 100)) |> :binary.copy(100)
        {client, spawn_link(fn -> flood(client, flood) end)}
      end

    # Some that never say anything, and some in the middle of their CONNECT.
    silent = for _ <- 1..20, do: open(port)
    for client <- Enum.take(silent, 10), do: send_bytes(client, <<0x10, 13, 0>>)

    for _ <- 1..50, do: assert_receive({:connected, _, _})
    # The kernel keeps who says nothing for a second.
    eventually(fn -> assert %{accepted: 70} = MQTT.Listener.info(listener()) end)
    stop_servers()

    for _ <- 1..50 do
      assert_receive {:terminate, :shutdown, _}, 5_000
    end

    for {client, _} <- clients, do: abort(client)
    for client <- silent, do: assert_closed(client)
    for client <- silent, do: close(client)
    refute_received {:report, _, _}
    assert_none(before)
  end

  # Writes as fast as the other side reads, and reads nothing.
  defp flood(client, bytes) do
    case client.module.send(client.socket, bytes) do
      :ok -> flood(client, bytes)
      {:error, _} -> :ok
    end
  end
end
