defmodule MQTT.QosTest do
  # QoS 1 and 2 through all layers. What the state machine does in every case is tested beside it.
  use MQTT.Test.Compat

  alias MQTT.Test.Scripted

  defp qos_1(id, topic \\ "a", payload \\ "b"), do: publish(0x32, id, topic, payload)
  defp qos_2(id, topic \\ "a", payload \\ "b"), do: publish(0x34, id, topic, payload)

  defp publish(first, id, topic, payload) do
    body = <<byte_size(topic)::16, topic::binary, id::16, payload::binary>>
    <<first, byte_size(body), body::binary>>
  end

  test_each "a message of QoS 1 is acknowledged when the callback has returned [MQTT-4.3.2-2]" do
    waits = fn _topic, _message, _opts, state ->
      receive do: (:go_on -> {:ok, state})
    end

    {port, opts} = serve(transport, Scripted, Scripted.with_functions(%{handle_publish: waits}))
    client = connect(port, opts)
    assert_receive {:init, pid, _}
    send_bytes(client, qos_1(7))
    assert_receive {:handle_publish, ["a", "b", %{qos: 1, packet_id: 7, dup: false}]}
    assert {:error, :timeout} = client.module.recv(client.socket, 0, 20)
    send(pid, :go_on)
    assert recv(client) == <<0x40, 2, 7::16>>
  end

  test_each "a batch is acknowledged in its order, a duplicate of QoS 2 comes once [MQTT-4.3.3-10]" do
    {port, opts} = serve(transport, Scripted, Scripted.with_functions())
    client = connect(port, opts)
    send_bytes(client, [qos_1(1), qos_2(2), publish_packet("a", "0"), qos_1(3), qos_2(2)])
    assert recv(client) == <<0x40, 2, 1::16>>
    assert recv(client) == <<0x50, 2, 2::16>>
    assert recv(client) == <<0x40, 2, 3::16>>
    send_bytes(client, qos_2(2))
    assert recv(client) == <<0x50, 2, 2::16>>
    send_bytes(client, <<0x62, 2, 2::16>>)
    assert recv(client) == <<0x70, 2, 2::16>>
    # Released, the identifier is free for another message.
    send_bytes(client, qos_2(2))
    assert recv(client) == <<0x50, 2, 2::16>>

    for qos <- [1, 2, 0, 1, 2] do
      assert_receive {:handle_publish, ["a", _, %{qos: ^qos}]}
    end

    refute_received {:handle_publish, _}
  end

  test "messages have options of their own, or those of the message before" do
    options = fn ->
      [one, kept, none] = [%{qos: 1}, %{qos: 1, retain: true}, %{properties: %{}}]
      [one, one, kept, none, one, %{qos: 1}, kept, kept, none, one]
    end

    # Sent to the process they would be copies, and no two the same.
    publishes = fn _, _, _, state ->
      {:ok, state, for(o <- options.(), do: {:publish, "a", "b", o})}
    end

    {port, opts} = serve(:tcp, Scripted, Scripted.with_functions(%{handle_publish: publishes}))
    client = connect(port, opts)
    send_bytes(client, publish_packet("go", ""))

    for {options, id} <- Enum.zip(options.(), [1, 2, 3, nil, 4, 5, 6, 7, nil, 8]) do
      expected =
        case options do
          %{retain: true} -> publish(0x33, id, "a", "b")
          %{qos: 1} -> qos_1(id)
          %{properties: _} -> publish_packet("a", "b")
        end

      assert recv(client) == expected
    end
  end

  test "a callback that stops or raises leaves its message unacknowledged, and those before not" do
    stops = fn
      "stop", _, _, _ -> {:stop, {:shutdown, :enough}}
      _, _, _, state -> {:ok, state}
    end

    {port, _} = serve(:tcp, Scripted, Scripted.with_functions(%{handle_publish: stops}))
    client = connect(port)
    send_bytes(client, [qos_1(1), qos_1(2, "stop"), qos_1(3)])
    assert recv(client) == <<0x40, 2, 1::16>>
    assert_closed(client)
    assert_receive {:terminate, {:shutdown, :enough}, nil}
  end

  test_each "messages of QoS 1 and 2 to the client, and what has become of them" do
    {port, opts} = serve(transport, Scripted, Scripted.with_functions())
    client = connect(port, opts)
    assert_receive {:init, pid, _}

    GenServer.cast(
      pid,
      {:act,
       [
         {:publish, "a", "1", %{qos: 1, ref: :one}},
         {:publish, "a", "2", %{qos: 2, ref: {:two, 2}}},
         {:publish, "a", "0", %{qos: 2, max_qos: 0, ref: "zero"}}
       ]}
    )

    assert recv(client) == <<0x32, 6, 1::16, "a", 1::16, "1">>
    assert recv(client) == <<0x34, 6, 1::16, "a", 2::16, "2">>
    assert recv(client) == <<0x30, 4, 1::16, "a", "0">>
    assert_receive {:handle_delivered, ["zero", :ok]}
    send_bytes(client, <<0x40, 2, 1::16>>)
    assert_receive {:handle_delivered, [:one, :ok]}
    send_bytes(client, <<0x50, 2, 2::16>>)
    assert recv(client) == <<0x62, 2, 2::16>>
    assert_receive {:handle_delivered, [{:two, 2}, :ok]}
    send_bytes(client, <<0x70, 2, 2::16>>)

    GenServer.cast(pid, {:act, {:publish, "a", "3", %{qos: 1, ref: :lost}}})
    assert <<0x32, 6, 1::16, "a", _::16, "3">> = recv(client)
    close(client)
    assert_receive {:handle_delivered, [:lost, {:error, :connection_lost}]}
    assert_receive {:terminate, {:shutdown, :closed}, nil}
  end

  test "more than the window waits, and more than the session may hold is dropped and counted" do
    options = [max_inflight: 2, max_session_messages: 4]
    args = Scripted.with_functions()
    {port, _} = serve(:tcp, Scripted, args, options: options)
    client = connect(port)
    assert_receive {:init, pid, _}
    publishes = for n <- 1..6, do: {:publish, "a", "#{n}", %{qos: 1, ref: n}}
    :acted = GenServer.call(pid, {:act, publishes})
    assert_receive {:handle_delivered, [5, {:error, :queue_full}]}
    assert_receive {:handle_delivered, [6, {:error, :queue_full}]}
    assert MQTT.Server.info(pid).dropped_messages == 2

    for n <- 1..4 do
      assert <<0x32, 6, 1::16, "a", id::16, payload::binary>> = recv(client)
      assert payload == "#{n}"
      # The next two are there only when this is acknowledged.
      if n <= 2, do: send_bytes(client, <<0x40, 2, id::16>>)
    end

    assert_open(client)
  end

  test "with slow_peer: :close a client whose session is full is disconnected" do
    options = [max_inflight: 1, max_session_messages: 2, slow_peer: :close]
    {port, _} = serve(:tcp, Scripted, Scripted.with_functions(), options: options)
    client = connect(port)
    assert_receive {:init, pid, _}
    publishes = for n <- 1..3, do: {:publish, "a", "#{n}", %{qos: 1}}
    GenServer.cast(pid, {:act, publishes})
    assert_receive {:terminate, {:shutdown, :send_queue_full}, _}
    assert <<0x32, 6, 1::16, "a", _::16, "1">> = recv(client)
    assert_closed(client)
  end

  test "a client of MQTT 3.1.1 that does not wait is kept waiting" do
    args = Scripted.with_functions()
    {port, _} = serve(:tcp, Scripted, args, options: [receive_maximum: 3])
    client = connect(port)
    send_bytes(client, for(id <- 1..100, do: qos_1(id)))
    for id <- 1..100, do: assert(recv(client) == <<0x40, 2, id::16>>)
    # Nor does it have to release one before it sends the next.
    send_bytes(client, for(id <- 1..100, do: qos_2(id)))
    for id <- 1..100, do: assert(recv(client) == <<0x50, 2, id::16>>)
    send_bytes(client, for(id <- 1..100, do: <<0x62, 2, id::16>>))
    for id <- 1..100, do: assert(recv(client) == <<0x70, 2, id::16>>)
  end
end
