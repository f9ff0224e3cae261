defmodule MQTT.WillTest do
  # The wills that the library publishes for a handler, through all layers.
  use MQTT.Test.Compat
  import MQTT.Test.Mqtt5

  test_each "the will is published for the handler unless it was taken back" do
    init = fn _params, state -> {:ok, state, {:will, :auto}} end
    {port, opts} = served(transport, %{init: init})
    will = %{topic: "will", payload: "gone", qos: 1, retain: true}
    will_5 = Map.put(will, :properties, %{content_type: "text", will_delay_interval: 0})

    published = fn ->
      assert_receive {:handle_publish, ["will", "gone", opts]}
      opts
    end

    # Each way to go, and whether the will is published.
    for {connect, leave, published?} <- [
          {[will: will_5, protocol_version: 5], &close/1, true},
          {[will: will_5, protocol_version: 5], &send_bytes(&1, <<0xE0, 1, 0x04>>), true},
          {[will: will_5, protocol_version: 5], &send_bytes(&1, <<0x36, 0>>), true},
          {[will: will_5, protocol_version: 5], &send_bytes(&1, <<0xE0, 0>>), false},
          {[will: will], &close/1, true},
          {[will: will], &send_bytes(&1, <<0xE0, 0>>), false}
        ] do
      client = open(port, opts)
      send_bytes(client, connect_packet(connect))
      assert <<0x20, _::binary>> = recv(client)
      leave.(client)

      if published? do
        assert %{qos: 1, retain: true, dup: false} = said = published.()
        if connect[:protocol_version], do: assert(%{properties: %{content_type: "text"}} = said)
      end

      assert_receive {:terminate, _, _}
      refute_received {:handle_publish, _}
    end
  end

  describe "the will of a connection that is killed is published once" do
    setup do
      test = self()
      # In the process of the connection its callback waits, as one may.
      handle_publish = fn _topic, _message, %{will: true}, state ->
        send(test, {:will, self()})
        receive do: (:go -> {:ok, state})
      end

      init = fn _params, state -> {:ok, state, {:will, :auto}} end
      {port, _} = served(:tcp, %{init: init, handle_publish: handle_publish})
      client = open(port)
      will = %{topic: "will", payload: "gone", qos: 1, retain: true}
      send_bytes(client, connect_packet(will: will))
      assert <<0x20, _::binary>> = recv(client)
      assert_receive {:init, pid, _}
      {:ok, client: client, pid: pid}
    end

    # The connection has ended.
    defp assert_published_once(connection) do
      assert_receive {:will, other} when other != connection
      send(other, :go)
      refute_receive {:will, _}, 50
    end

    test "by another process", %{pid: pid} do
      Process.exit(pid, :kill)
      assert_published_once(pid)
    end

    test "also when that was killed before", %{pid: pid} do
      guard = Process.whereis(MQTT.Server.Will.Guard)
      Process.exit(guard, :kill)
      Process.exit(pid, :kill)
      assert_published_once(pid)
    end

    test "also when it is publishing it", %{client: client, pid: pid} do
      close(client)
      assert_receive {:will, ^pid}
      Process.exit(pid, :kill)
      assert_published_once(pid)
    end

    test "and not again when it has ended after that", %{client: client, pid: pid} do
      ref = Process.monitor(pid)
      close(client)
      assert_receive {:will, ^pid}
      send(pid, :go)
      assert_receive {:DOWN, ^ref, _, _, {:shutdown, :closed}}
      refute_receive {:will, _}, 50
    end
  end

  test "a will that the server does not offer is refused [MQTT-3.2.2-12] [MQTT-3.2.2-13]" do
    for {offer, will, code} <- [
          {%{maximum_qos: 1}, %{qos: 2}, 0x9B},
          {%{retain_available: 0}, %{retain: true}, 0x9A}
        ] do
      init = fn _params, state -> {:ok, state, {:connack, offer}} end
      {port, opts} = served(:tcp, %{init: init})
      will = Map.merge(%{topic: "will", payload: ""}, will)
      {client, connack} = connect_5(port, opts, will: will)
      assert %{type: :connack, reason_code: ^code} = connack
      assert_closed(client)
      assert_receive {:terminate, {:shutdown, _}, _}
      refute_received {:handle_publish, _}
    end
  end

  test "the will waits for its delay, the end of the session, or for ever [MQTT-3.1.3-9]" do
    session = MQTT.Session.new()
    init = fn _params, state -> {:ok, state, [{:will, :auto}, {:session, session}]} end
    {port, opts} = served(:tcp, %{init: init})

    leave = fn delay, expiry ->
      will = %{topic: "will", payload: "", properties: %{will_delay_interval: delay}}
      properties = %{session_expiry_interval: expiry}
      {client, _} = connect_5(port, opts, will: will, properties: properties, clean_start: false)
      close(client)
      assert_receive {:terminate, {:shutdown, :closed}, ^session}
    end

    # Whichever is over first.
    for {delay, expiry} <- [{60, 0}, {60, 1}, {1, 60}] do
      leave.(delay, expiry)
      assert_receive {:handle_publish, ["will", "", _]}, 5_000
    end

    # A client that comes back in time is not dead, one that begins anew is as good as that.
    leave.(60, 60)
    {client, _} = connect_5(port, opts, clean_start: false)
    send_packet(client, %{type: :disconnect})
    assert_receive {:terminate, :normal, _}
    leave.(60, 60)
    refute_received {:handle_publish, _}
    {client, _} = connect_5(port, opts, clean_start: true)
    assert_receive {:handle_publish, ["will", "", _]}
    close(client)
  end

  test "the first connection behind it counts, though there are more until it is found out" do
    for {first, then, published?} <- [{false, true, false}, {true, false, true}] do
      session = MQTT.Session.new()
      test = self()

      # The first connection is busy until it may go on.
      handle_publish = fn
        _topic, "wait", _opts, state ->
          send(test, {:waits, self()})
          receive do: (:go -> {:ok, state})

        _topic, will, %{will: true}, state ->
          send(test, {:will, will})
          {:ok, state}
      end

      init = fn _params, state -> {:ok, state, [{:will, :auto}, {:session, session}]} end
      {port, opts} = served(:tcp, %{init: init, handle_publish: handle_publish})
      will = %{topic: "will", payload: "gone", properties: %{will_delay_interval: 60}}
      properties = %{session_expiry_interval: 60}
      {client, _} = connect_5(port, opts, will: will, properties: properties, clean_start: false)
      send_packet(client, %{type: :publish, topic: "t", payload: "wait"})
      assert_receive {:waits, pid}

      for clean <- [first, then],
          do: connect_5(port, opts, properties: properties, clean_start: clean)

      monitor = Process.monitor(pid)
      send(pid, :go)
      assert_receive {:DOWN, ^monitor, _, _, _}

      if published?,
        do: assert_receive({:will, "gone"}),
        else: refute_receive({:will, _}, 50)
    end
  end

  test "the will waits also where the application began after the connection" do
    session = MQTT.Session.new()
    init = fn _params, state -> {:ok, state, [{:will, :auto}, {:session, session}]} end
    {port, opts} = served(:tcp, %{init: init})
    will = %{topic: "will", payload: "", properties: %{will_delay_interval: 1}}
    properties = %{session_expiry_interval: 60}
    {client, _} = connect_5(port, opts, will: will, properties: properties, clean_start: false)
    assert_receive {:init, pid, _}
    # As then, nobody knows of the connection.
    guard = Process.whereis(MQTT.Server.Will.Guard)
    monitor = Process.monitor(guard)
    true = :ets.delete(MQTT.Server.Will.Guard, pid)
    Process.exit(guard, :kill)
    assert_receive {:DOWN, ^monitor, _, _, _}
    MQTT.Test.Brokers.eventually(fn -> Process.whereis(MQTT.Server.Will.Guard) end)
    close(client)
    assert_receive {:handle_publish, ["will", "", _]}, 5_000
  end

  test "a connection that is taken over leaves its will, unless that was to wait" do
    session = MQTT.Session.new()
    init = fn _params, state -> {:ok, state, [{:will, :auto}, {:session, session}]} end
    {port, opts} = served(:tcp, %{init: init})

    for {delay, clean, published?} <- [
          {0, false, true},
          {60, false, false},
          {60, true, true}
        ] do
      will = %{topic: "will", payload: "", properties: %{will_delay_interval: delay}}
      properties = %{session_expiry_interval: 60}
      {_first, _} = connect_5(port, opts, will: will, properties: properties, clean_start: false)
      {second, _} = connect_5(port, opts, properties: properties, clean_start: clean)
      if published?, do: assert_receive({:handle_publish, ["will", "", _]})
      assert_receive {:terminate, {:shutdown, :session_taken_over}, _}
      refute_received {:handle_publish, _}
      close(second)
      assert_receive {:terminate, _, _}
    end
  end
end
