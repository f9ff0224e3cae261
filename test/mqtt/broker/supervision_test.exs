defmodule MQTT.Broker.SupervisionTest do
  # What ends with what.
  use ExUnit.Case, async: true
  import MQTT.Test.Brokers
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]

  alias MQTT.Broker
  alias MQTT.Test.V5

  defmodule Tells do
    @behaviour MQTT.Broker.Handler

    @impl true
    def handle_event({:disconnected, reason}, %{client_id: id}, test),
      do: send(test, {:disconnected, id, reason})

    def handle_event({:will_published, _}, %{client_id: id}, test), do: send(test, {:will, id})
    def handle_event(_event, _client, _test), do: :ok
  end

  # A client of a socket of one's own, and the process that takes it.
  defp guest(name) do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}])
    {:ok, port} = :inet.port(listener)

    pid =
      :proc_lib.spawn(fn ->
        {:ok, socket} = :gen_tcp.accept(listener)
        Broker.enter_loop(name, MQTT.Transport.new(:tcp, socket), connect_timeout: :infinity)
      end)

    {open(port), Process.monitor(pid)}
  end

  test "a connection that is no listener's ends with the broker, connected or not, and its will is published" do
    {name, _} = broker(handler: {Tells, self()})
    {silent, of_silent} = guest(name)
    {client, of_client} = guest(name)
    will = V5.will("will", "gone")
    send_bytes(client, V5.connect(0x06, ["client", will]))
    assert {:connack, 0, 0, _} = V5.recv_packet(client)
    V5.subscribed(client, [{"will", 0}])
    # The silent one is known as well.
    guests = Broker.Context.process!(Broker.Context.get!(name), :guests)
    eventually(fn -> map_size(:sys.get_state(guests)) == 2 end)
    stop_supervised!({Broker, name})
    assert_receive {:DOWN, ^of_silent, _, _, :shutdown}
    assert_receive {:DOWN, ^of_client, _, _, :shutdown}
    assert_receive {:will, "client"}
    assert_receive {:disconnected, "client", :shutdown}
    assert_closed(silent)
  end

  test "without its sessions a broker ends, and is started again by its supervisor" do
    {name, port} = broker(handler: {Tells, self()})
    listened = V5.with_session(port, "listened")
    {client, of_client} = guest(name)
    send_bytes(client, V5.connect(0x02, ["guest"]))
    assert {:connack, 0, 0, _} = V5.recv_packet(client)
    before = Process.whereis(name)
    monitor = Process.monitor(name)
    Process.exit(Broker.Context.get!(name).sessions, :kill)
    assert_receive {:DOWN, ^monitor, _, _, :shutdown}
    assert_receive {:DOWN, ^of_client, _, _, :shutdown}
    for id <- ["listened", "guest"], do: assert_receive({:disconnected, ^id, :shutdown})
    V5.assert_ended(listened, [0x8B])
    eventually(fn -> Process.whereis(name) not in [nil, before] end)
    eventually(fn -> match?([%{port: _}], catch_exit_of(fn -> Broker.listeners(name) end)) end)
    assert Broker.clients(name) == []
    assert :ok = Broker.subscribe(name, "t")
  end

  defp catch_exit_of(function) do
    function.()
  catch
    :exit, reason -> reason
  end

  test "of a broker that was killed nothing is left" do
    name = :"broker_#{System.unique_integer([:positive])}"
    options = [name: name, ip: {127, 0, 0, 1}, port: 0]

    {:ok, broker} = start_unlinked(options)
    monitor = Process.monitor(broker)
    Process.exit(broker, :kill)
    assert_receive {:DOWN, ^monitor, _, _, :killed}
    eventually(fn -> Broker.Context.get(name) == nil end)

    for function <- [
          fn -> Broker.publish(name, "t", "x") end,
          fn -> Broker.clients(name) end,
          fn -> Broker.listeners(name) end,
          fn -> Broker.suspend(name) end,
          fn -> Broker.enter_loop(name, :none) end
        ],
        do: assert(catch_exit(function.()) == {:noproc, {Broker, name}})
  end

  defp start_unlinked(options) do
    test = self()

    spawn(fn ->
      {:ok, pid} = Broker.start_link(options)
      Process.unlink(pid)
      send(test, {:started, pid})
    end)

    receive do: ({:started, pid} -> {:ok, pid})
  end
end
