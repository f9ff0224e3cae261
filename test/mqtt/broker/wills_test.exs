defmodule MQTT.Broker.WillsTest do
  # What becomes of a will and of the session, for each way in which a connection can end.
  use ExUnit.Case, async: true
  import MQTT.Test.Brokers
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]

  alias MQTT.Broker
  alias MQTT.Test.{V4, V5}

  # Seconds, of which the one is over within the test and the other is not.
  @soon 2
  @later 60

  # Milliseconds between two looks.
  @look 100

  @without_return [
    :disconnect,
    :disconnect_with_will,
    :close,
    :protocol_error,
    :disconnected_by_the_broker
  ]

  # The client connects a second time, while it is connected or thereafter, and begins anew or does not.
  @with_return [:taken_over, :taken_over_clean, :comes_back, :comes_back_clean]

  @rows for(
          expiry <- [0, @soon, @later],
          delay <- [0, @soon, @later],
          ending <- @without_return ++ @with_return,
          # What is soon over may be over before it comes back.
          expiry != @soon or ending in @without_return,
          do: %{version: 5, expiry: expiry, delay: delay, ending: ending}
        ) ++
          for(
            clean <- [true, false],
            ending <- (@without_return -- [:disconnect_with_will]) ++ @with_return,
            # A session without Clean Session stays.
            do: %{
              version: 4,
              expiry: if(clean, do: 0, else: @later),
              delay: 0,
              ending: ending
            }
          )

  # When the will is published: at once, while the test waits (in @soon seconds, or when a client that comes back begins anew), or
  # not then.
  # [MQTT-3.1.2-8] [MQTT-3.1.3-9] [MQTT-3.14.4-3], and sections 3.1.2.5, 3.1.3.2.2 and 3.1.4 of MQTT 5.0.
  defp expected(%{ending: :disconnect}), do: :no
  # The session ends with the connection, or there is no delay.
  defp expected(%{expiry: expiry, delay: delay}) when expiry == 0 or delay == 0, do: :at_once
  defp expected(%{ending: ending}) when ending in [:taken_over, :comes_back], do: :no
  defp expected(%{ending: :taken_over_clean}), do: :at_once
  defp expected(%{ending: :comes_back_clean}), do: :within
  # Whichever comes first.
  defp expected(%{expiry: expiry, delay: delay}),
    do: if(min(expiry, delay) == @soon, do: :within, else: :no)

  # Whether the client finds its session when it connects again, after the test has waited.
  defp present(%{expiry: @soon}), do: 0
  defp present(%{ending: ending}) when ending in [:taken_over_clean, :comes_back_clean], do: 0
  defp present(%{expiry: 0}), do: 0
  defp present(_row), do: 1

  test "a will is published when it has to be, and a session stays if it has to" do
    {name, port} = broker()

    @rows
    |> Enum.with_index()
    |> Task.async_stream(fn {row, n} -> {row, outcome(name, port, "client #{n}", row)} end,
      max_concurrency: length(@rows),
      timeout: 30_000
    )
    |> Enum.each(fn {:ok, {row, outcome}} ->
      assert {row, outcome} == {row, {expected(row), present(row)}}
    end)
  end

  defmodule Rules do
    @behaviour MQTT.Broker.Handler

    @impl true
    def authorize_publish(_client, _message, _args), do: :ok
  end

  test "what is kept with a will does not grow with what all clients have in common" do
    {name, port} = broker(handler: {Rules, Enum.to_list(1..10_000)})
    V5.connected(port, "client", 0x06, [V5.will("will", "gone")])
    [row] = :ets.lookup(MQTT.Server.Will.Guard, Broker.info(name, "client").pid)
    assert :erts_debug.flat_size(row) < 500
  end

  test "a will that waits is published when its session is deleted" do
    {name, port} = broker()
    :ok = Broker.subscribe(name, "will")
    will = V5.will("will", "gone", <<0x18, @later::32>>)
    client = V5.connected(port, "client", 0x06, [will], V5.expiry(@later))
    close(client)
    gone(name, "client")
    eventually(fn -> Broker.delete_session(name, "client") end)
    assert_receive {:mqtt, ^name, %{topic: "will", payload: "gone"}}, 1_000
  end

  test "a will that waits ends with its broker" do
    {name, port} = broker()
    will = V5.will("will", "gone", <<0x18, @later::32>>)
    client = V5.connected(port, "client", 0x06, [will], V5.expiry(@later))
    sessions = Broker.Context.get!(name).sessions
    close(client)

    waiting = fn ->
      for pid <- Task.Supervisor.children(MQTT.Server.Will.Supervisor),
          {:monitors, monitors} <- [Process.info(pid, :monitors)],
          {:process, sessions} in monitors,
          do: pid
    end

    eventually(fn -> length(waiting.()) == 1 end)
    [pid] = waiting.()
    ref = Process.monitor(pid)
    :ok = stop_supervised({Broker, name})
    assert_receive {:DOWN, ^ref, _, _, :normal}
  end

  defp outcome(name, port, id, row) do
    subscriber = V5.subscribed(V5.connected(port, id <> "'s heir"), [{id, 0}])
    {client, _} = connect(port, id, row, row.expiry == 0, true)
    returned = ending(row.ending, client, name, port, id, row)
    at_once? = heard?(subscriber, name, id)
    comes_back? = row.ending in [:comes_back, :comes_back_clean]
    clean? = row.ending == :comes_back_clean
    returned = if comes_back?, do: connect(port, id, row, clean?, false), else: returned
    within? = heard_within?(subscriber, name, id, div(@soon * 1_000 + 1_000, @look))
    {_, present} = returned || connect(port, id, row, false, false)
    refute at_once? and within?
    {if(at_once?, do: :at_once, else: if(within?, do: :within, else: :no)), present}
  end

  # Whether the will has been published by now.
  defp heard?(subscriber, name, id) do
    {:ok, :success, 1} = Broker.publish(name, id, "behind")

    case V5.recv_packet(subscriber) do
      {:publish, 0x30, ^id, nil, "behind", []} ->
        false

      {:publish, 0x30, ^id, nil, "gone", []} ->
        assert {:publish, 0x30, ^id, nil, "behind", []} = V5.recv_packet(subscriber)
        true
    end
  end

  defp heard_within?(_subscriber, _name, _id, 0), do: false

  defp heard_within?(subscriber, name, id, looks) do
    heard?(subscriber, name, id) ||
      receive after: (@look -> heard_within?(subscriber, name, id, looks - 1))
  end

  # Until the connection has ended. Gives the second one, if the client has it by then, and whether it has found its session.
  defp ending(:disconnect, client, _name, _port, _id, _row), do: say(client, <<0xE0, 0>>)
  defp ending(:disconnect_with_will, client, _, _, _, _), do: say(client, <<0xE0, 1, 0x04>>)
  # QoS 3.
  defp ending(:protocol_error, client, _, _, _, _), do: say(client, <<0x36, 0>>)

  defp ending(:disconnected_by_the_broker, client, name, _port, id, _row) do
    true = Broker.disconnect(name, id)
    say(client, "")
  end

  defp ending(taken_over, client, _name, port, id, row)
       when taken_over in [:taken_over, :taken_over_clean] do
    returned = connect(port, id, row, taken_over == :taken_over_clean, false)
    say(client, "")
    returned
  end

  # :close, and those that come back later.
  defp ending(_, client, name, _port, id, _row) do
    close(client)
    gone(name, id)
    nil
  end

  defp say(client, bytes) do
    send_bytes(client, bytes)
    _ = recv_all(client)
    nil
  end

  defp connect(port, id, %{version: 5} = row, clean, will) do
    fields = if will, do: [id, V5.will(id, "gone", <<0x18, row.delay::32>>)], else: [id]
    connect = V5.connect(flags(clean, will), fields, V5.expiry(row.expiry))
    {client, {:connack, present, 0, _}} = V5.try_connect(port, connect)
    {client, present}
  end

  defp connect(port, id, %{version: 4}, clean, will) do
    fields = if will, do: [id, id, "gone"], else: [id]
    connect = V4.connect(flags(clean, will), fields)
    {client, <<0x20, 2, present, 0>>} = V4.try_connect(port, connect)
    {client, present}
  end

  defp flags(clean, will), do: if(clean, do: 0x02, else: 0) + if(will, do: 0x04, else: 0)
end
