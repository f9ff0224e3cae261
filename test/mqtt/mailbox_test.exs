defmodule MQTT.MailboxTest do
  # Messages, calls and casts of other processes, several of which are handled in one go.
  use MQTT.Test.Compat

  import ExUnit.CaptureLog

  # Publishes what it is told, and remembers it.
  defmodule Teller do
    use MQTT.Server

    @impl true
    def init(test, _params) do
      send(test, {:init, self()})
      {:ok, {test, []}}
    end

    @impl true
    def handle_info({:wait, ref}, state) do
      receive do
        ^ref -> {:ok, state}
      end
    end

    def handle_info(:again, state), do: again(:again, state)
    def handle_info({:EXIT, _, :again} = message, state), do: again(message, state)
    def handle_info(:raise, _state), do: raise("told to")
    def handle_info(:exit, _state), do: exit(:told_to)
    def handle_info(:throw, state), do: throw(tell("thrown", state))
    def handle_info(:nonsense, _state), do: :nonsense
    def handle_info(:stop, _state), do: {:stop, {:shutdown, :told_to}}
    def handle_info(message, state), do: tell(message, state)

    @impl true
    def handle_cast(message, state), do: tell(message, state)

    @impl true
    def handle_call(message, from, state) do
      {:ok, state, actions} = tell(message, state)
      {:ok, state, [actions, {:reply, from, :told}]}
    end

    @impl true
    def terminate(reason, {test, told}),
      do: send(test, {:terminate, reason, Enum.reverse(told)})

    defp again(message, state) do
      send(self(), message)
      {:ok, state}
    end

    defp tell(message, {test, told}) do
      text = if is_binary(message), do: message, else: inspect(message)
      {:ok, {test, [text | told]}, {:publish, "told", text}}
    end
  end

  setup %{transport: transport} do
    {port, opts} = serve(transport, Teller, self())
    client = connect(port, opts)
    assert_receive {:init, pid}
    %{client: client, pid: pid}
  end

  test_each "they keep their order", %{client: client, pid: pid} do
    {call, info} =
      while_waiting(pid, fn ->
        send(pid, "1")
        GenServer.cast(pid, "2")
        send(pid, :three)
        call = :gen_server.send_request(pid, "4")
        send(pid, {})
        send(pid, {:EXIT, self(), :six})
        send(pid, {:system, :seven})
        {call, :gen_server.send_request(pid, {:"$mqtt", :info})}
      end)

    assert {:reply, :told} = :gen_server.wait_response(call, 5_000)
    # As MQTT.Server.info/1 asks.
    assert {:reply, %{queued_bytes: _}} = :gen_server.wait_response(info, 5_000)
    exit = inspect({:EXIT, self(), :six})
    assert_told(client, ["1", "2", ":three", "4", "{}", exit, "{:system, :seven}"])
  end

  test_each "one that raises does not take along those before it", %{client: client, pid: pid} do
    log =
      ends_behind(client, pid, :raise, &match?({%RuntimeError{message: "told to"}, [_ | _]}, &1))

    assert log =~ "mailbox_test.exs"
  end

  test_each "nor does one that exits", %{client: client, pid: pid} do
    ends_behind(client, pid, :exit, &(&1 == :told_to))
  end

  test_each "what one returns counts that is behind others", %{client: client, pid: pid} do
    while_waiting(pid, fn -> for message <- ["1", :throw, :stop, "4"], do: send(pid, message) end)
    assert_receive {:terminate, {:shutdown, :told_to}, ["1", "thrown"]}
    assert_told(client, ["1", "thrown"])
    assert_closed(client)
  end

  @tag :capture_log
  test_each "a wrong return value has the state before it", %{client: client, pid: pid} do
    while_waiting(pid, fn -> for message <- ["1", :nonsense], do: send(pid, message) end)
    assert_receive {:terminate, {:bad_return_value, :nonsense}, ["1"]}
    assert_told(client, ["1"])
  end

  test_each "the end of the parent ends it behind what came before", %{client: client, pid: pid} do
    {:dictionary, dictionary} = Process.info(pid, :dictionary)
    [parent | _] = dictionary[:"$ancestors"]

    while_waiting(pid, fn ->
      for message <- ["1", {:EXIT, parent, :shutdown}, "3"], do: send(pid, message)
    end)

    assert_receive {:terminate, :shutdown, ["1"]}
    assert_told(client, ["1"])
    assert_closed(client)
  end

  @tag transport: :tcp
  test "so does that of a parent that had a name" do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}])
    {:ok, port} = :inet.port(listener)
    client = open(port)
    {:ok, socket} = :gen_tcp.accept(listener)
    test = self()

    parent =
      spawn(fn ->
        Process.register(self(), :mailbox_test_parent)
        child = :proc_lib.spawn_link(fn -> serve_when_given(test) end)
        send(test, {:child, child})
        Process.sleep(:infinity)
      end)

    assert_receive {:child, pid}
    :ok = :gen_tcp.controlling_process(socket, pid)
    send(pid, {:yours, socket})
    send_bytes(client, connect_packet())
    assert <<0x20, 2, 0, 0>> = recv(client)
    monitor = Process.monitor(parent)

    while_waiting(pid, fn ->
      send(pid, "1")
      Process.exit(parent, :kill)
      assert_receive {:DOWN, ^monitor, _, _, :killed}
    end)

    assert_receive {:terminate, :killed, ["1"]}
    assert_told(client, ["1"])
  end

  defp serve_when_given(test) do
    Process.flag(:trap_exit, true)
    socket = receive do: ({:yours, socket} -> socket)
    MQTT.Server.enter_loop(Teller, test, MQTT.Transport.new(:tcp, socket))
  end

  test_each "others have their turn where messages do not end", %{client: client, pid: pid} do
    send(pid, :again)
    # One of a process that is linked, which ends the turn of those before.
    send(pid, {:EXIT, self(), :again})
    assert %{state: {_, []}} = :sys.get_state(pid)
    :ok = :sys.suspend(pid)
    :ok = :sys.resume(pid)
    assert GenServer.call(pid, "called") == :told
    assert_told(client, ["called"])
    assert_open(client)
  end

  test_each "many are written in several parts", %{client: client, pid: pid} do
    told = for number <- 1..1_000, do: Integer.to_string(number)
    while_waiting(pid, fn -> for message <- told, do: send(pid, message) end)
    assert_told(client, told)
  end

  # Gives the report, which has the message.
  defp ends_behind(client, pid, last, reason?) do
    monitor = Process.monitor(pid)

    log =
      capture_log(fn ->
        while_waiting(pid, fn -> for message <- ["1", "2", last], do: send(pid, message) end)
        assert_receive {:terminate, reason, ["1", "2"]}
        assert reason?.(reason)
        assert_told(client, ["1", "2"])
        assert_receive {:DOWN, ^monitor, :process, _, _}
      end)

    assert log =~ inspect(pid)
    assert log =~ ~r/Last message: .*#{inspect(last)}/
    log
  end

  # What `send` sends is in the mailbox before any of it is handled.
  defp while_waiting(pid, send) do
    ref = make_ref()
    send(pid, {:wait, ref})
    sent = send.()
    send(pid, ref)
    sent
  end

  defp assert_told(client, texts) do
    bytes = IO.iodata_to_binary(for text <- texts, do: publish_packet("told", text))
    assert recv_bytes(client, byte_size(bytes)) == bytes
  end
end
