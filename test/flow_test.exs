defmodule MQTT.FlowTest do
  # Peers that are slower than the other side. Not async: it counts the bytes of the whole machine.
  use ExUnit.Case, async: false

  import MQTT.Test.Residue
  import MQTT.Test.Wire

  alias MQTT.Test.{Acceptor, Faulty}

  @queue 100_000

  setup do
    %{before: before()}
  end

  defp connected(options \\ [], client_options \\ []) do
    options = Keyword.merge([max_queue_bytes: @queue], options)
    server = [module: Faulty, args: {self(), nil}, transport: :listener, options: options]
    client = server |> Acceptor.start() |> connect(client_options)
    assert_receive {:connected, pid, _}
    {client, pid}
  end

  # More than the kernel's buffers take.
  defp overwhelm(pid, payload) do
    for _ <- 1..2_000, do: send(pid, {:publish, "t", payload})
    # Answered behind them all.
    GenServer.call(pid, :state, 30_000)
  end

  test "a reader that never reads loses messages, and its queue and its process stay small",
       %{before: before} do
    {client, pid} = connected()
    payload = :binary.copy("x", 10_000)
    dropped = MQTT.Native.counters_read().dropped_messages
    overwhelm(pid, payload)

    # At most one write of 64 KiB and one message beyond the limit.
    assert gauges().queued_bytes in @queue..(@queue + 80_000)
    assert gauges().flushers == 1
    assert MQTT.Native.counters_read().dropped_messages > dropped
    :erlang.garbage_collect(pid)
    assert {:memory, memory} = Process.info(pid, :memory)
    assert memory < 100_000

    # When it reads again it gets what was queued, in whole packets, and then all that is new.
    send_bytes(client, <<0xC0, 0>>)
    packet = publish_packet("t", payload)
    read_until(client, <<0xD0, 0>>, &assert(&1 == packet))
    assert_open(client)
    assert gauges().queued_bytes == 0
    close(client)
    stop_servers()
    assert_none(before)
  end

  defp read_until(client, last, check) do
    case recv(client) do
      ^last ->
        :ok

      packet ->
        check.(packet)
        read_until(client, last, check)
    end
  end

  test "a slow reader gets every byte, in order, of what fits into its queue" do
    # Read in small pieces, so that the kernel refuses and takes again many times.
    {client, pid} = connected([max_queue_bytes: 100_000_000], recbuf: 4_096)
    count = 20_000

    writer =
      Task.async(fn ->
        for n <- 1..count do
          send(pid, {:publish, "n", Faulty.numbered(n)})
          # Now and then the reader catches up.
          if rem(n, 500) == 0, do: GenServer.call(pid, :state)
        end
      end)

    for n <- 1..count do
      assert recv_bytes(client, 506) == numbered_packet(n)
    end

    Task.await(writer)
    assert_open(client)
    close(client)
  end

  defp numbered_packet(n), do: <<0x30, 0xF7, 3, 0, 1, "n", Faulty.numbered(n)::binary>>

  test "what one callback publishes at once is not cut, and is counted by nobody" do
    {client, pid} = connected()
    # Many times the queue, and more than one call writes.
    send_bytes(client, publish_packet("burst", "10000"))
    eventually(fn -> assert MQTT.Server.info(pid).queued_bytes > @queue end)
    for n <- 1..10_000, do: assert(recv_bytes(client, 506) == numbered_packet(n))
    assert MQTT.Server.info(pid) == %{queued_bytes: 0, dropped_messages: 0}
    close(client)
  end

  test "answers to a client that does not read have a bound, whatever the policy", %{
    before: before
  } do
    for slow_peer <- [:block, :drop] do
      {client, pid} = connected([slow_peer: slow_peer], send_timeout: 300)
      _ = write_until_blocked(client, :binary.copy(<<0xC0, 0>>, 50_000), 0)
      assert gauges().queued_bytes < @queue + 500_000
      assert {:message_queue_len, length} = Process.info(pid, :message_queue_len)
      assert length <= 2
      abort(client)
    end

    {client, _} = connected([slow_peer: :close], send_timeout: 300)
    flood = spawn_link(fn -> flood(client, :binary.copy(<<0xC0, 0>>, 50_000)) end)
    assert_receive {:terminate, {:shutdown, :send_queue_full}, _}, 10_000
    Process.unlink(flood)
    abort(client)
    stop_servers()
    assert_none(before)
  end

  defp flood(client, bytes) do
    with :ok <- :gen_tcp.send(client.socket, bytes), do: flood(client, bytes)
  end

  test "over ssl, a reader that reads nothing for send_timeout is disconnected" do
    server = [module: Faulty, args: {self(), nil}, transport: :ssl, options: [send_timeout: 200]]
    client = server |> Acceptor.start() |> connect(tls: true)
    assert_receive {:connected, pid, _}
    for _ <- 1..2_000, do: send(pid, {:publish, "t", :binary.copy("x", 10_000)})
    assert_receive {:terminate, {:shutdown, :send_timeout}, _}, 10_000
    close(client)
  end

  test "the counters are those of the connection and of its listener" do
    {client, pid} = connected()
    overwhelm(pid, :binary.copy("x", 10_000))
    assert %{queued_bytes: queued, dropped_messages: dropped} = MQTT.Server.info(pid)
    assert queued >= @queue
    assert dropped > 0
    {:ok, supervisor} = ExUnit.fetch_test_supervisor()

    listener =
      Enum.find_value(Supervisor.which_children(supervisor), fn {_, pid, type, _} ->
        type == :supervisor && pid
      end)

    assert MQTT.Listener.info(listener).dropped_messages == dropped
    close(client)
  end

  test "with slow_peer: :close the reader is disconnected" do
    {client, pid} = connected(slow_peer: :close)
    ref = Process.monitor(pid)
    for _ <- 1..2_000, do: send(pid, {:publish, "t", :binary.copy("x", 10_000)})
    assert_receive {:terminate, {:shutdown, :send_queue_full}, _}, 10_000
    assert_receive {:DOWN, ^ref, _, _, {:shutdown, :send_queue_full}}
    close(client)
  end

  test "a reader that reads nothing for send_timeout is disconnected", %{before: before} do
    for slow_peer <- [:block, :drop] do
      {client, pid} = connected(slow_peer: slow_peer, send_timeout: 100)
      ref = Process.monitor(pid)
      overwhelm(pid, :binary.copy("x", 10_000))
      assert_receive {:terminate, {:shutdown, :send_timeout}, _}, 10_000
      assert_receive {:DOWN, ^ref, _, _, {:shutdown, :send_timeout}}
      close(client)
    end

    stop_servers()
    assert_none(before)
  end

  test "with slow_peer: :block nothing is read from a client that does not read, and nothing is lost",
       %{before: before} do
    {client, pid} = connected([], send_timeout: 300)
    packet = publish_packet("echo", :binary.copy("x", 1_000))
    sent = write_until_blocked(client, :binary.copy(packet, 50), 0) * 50
    # Both directions are full: a few megabytes are in the kernel, and little is here.
    assert gauges().queued_bytes < 2 * @queue
    assert {:message_queue_len, length} = Process.info(pid, :message_queue_len)
    assert length <= 2
    # The last write was cut short, so its packets may be more or fewer.
    for _ <- 1..sent//1, do: assert(recv_bytes(client, byte_size(packet)) == packet)
    close(client)
    stop_servers()
    assert_none(before)
  end

  defp write_until_blocked(client, bytes, count) do
    case :gen_tcp.send(client.socket, bytes) do
      :ok -> write_until_blocked(client, bytes, count + 1)
      {:error, :timeout} -> count
    end
  end

  test "with slow_peer: :drop a client that does not read is still heard" do
    {client, pid} = connected(slow_peer: :drop)
    overwhelm(pid, :binary.copy("x", 10_000))
    send_bytes(client, publish_packet("wait", ""))
    assert_receive {:waiting, ^pid}
    send(pid, :go_on)
    close(client)
  end

  test "a writer that is faster than the callback is held back", %{before: before} do
    {client, pid} = connected([], send_timeout: 300)
    send_bytes(client, publish_packet("wait", ""))
    assert_receive {:waiting, ^pid}
    memory = memory(pid)
    packet = publish_packet("t", :binary.copy("x", 1_000))
    sent = write_until_blocked(client, :binary.copy(packet, 100), 0)
    assert sent > 0
    # All of it is in the kernel; the process has at most one message and no byte of it.
    assert {:message_queue_len, length} = Process.info(pid, :message_queue_len)
    assert length <= 1
    assert memory(pid) - memory < 100_000
    assert gauges().queued_bytes == 0
    send(pid, :go_on)
    close(client)
    stop_servers()
    assert_none(before)
  end

  defp memory(pid) do
    {:memory, heap} = Process.info(pid, :memory)
    {:binary, binaries} = Process.info(pid, :binary)
    heap + Enum.sum(for {_, size, _} <- binaries, do: size)
  end

  defp stop_servers do
    {:ok, supervisor} = ExUnit.fetch_test_supervisor()

    for {id, _, _, _} <- Supervisor.which_children(supervisor), id != MQTT.Test.Residue do
      :ok = stop_supervised(id)
    end
  end
end
