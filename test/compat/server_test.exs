defmodule MQTT.Compat.ServerTest do
  use MQTT.Test.Compat

  Code.require_file("handlers.ex", __DIR__)
  alias MQTT.Compat.{Defaults, Everything}

  defp everything(transport, reply \\ :ok) do
    serve(transport, Everything, {self(), reply})
  end

  # A connected client and the process behind it.
  defp connected(transport) do
    {port, opts} = everything(transport)
    client = connect(port, opts)
    assert_receive {:init, pid, _params}
    ref = Process.monitor(pid)
    # A round trip behind the monitor, so that DOWN has the reason.
    _ = :sys.get_state(pid)
    {client, pid, ref}
  end

  describe "init/2" do
    test_each "gets what CONNECT says, and only that" do
      {port, opts} = everything(transport)
      connect(port, opts)
      assert_receive {:init, _, params}
      assert %{protocol: "MQTT", clean_session: true, client_id: "client"} = params
      refute Map.has_key?(params, :username)
      refute Map.has_key?(params, :password)
      refute Map.has_key?(params, :last_will)

      will = %{topic: "w", payload: "gone", qos: 1, retain: true}
      fields = [clean_start: false, username: "u", password: "p", will: will, protocol_version: 3]
      connect(port, [connect: connect_packet(fields)] ++ opts)
      assert_receive {:init, _, params}

      assert %{
               protocol: "MQIsdp",
               clean_session: false,
               client_id: "client",
               username: "u",
               password: "p",
               last_will: %{topic: "w", message: "gone", qos: 1, retain: true}
             } = params
    end

    test_each "rejects with each code, and the process ends quietly" do
      codes = [
        unacceptable_protocol: 1,
        identifier_rejected: 2,
        server_unavailable: 3,
        bad_username_or_password: 4,
        not_authorized: 5
      ]

      MQTT.Test.Reports.subscribe()

      for {reason, code} <- codes ++ Enum.map([6, 128, 255], &{&1, &1}) do
        {port, opts} = everything(transport, {:wait, {:stop, reason}})
        client = open(port, opts)
        send_bytes(client, [connect_packet(), publish_packet("a", "ignored")])
        assert_receive {:init, pid, _}
        ref = Process.monitor(pid)
        send(pid, :go_on)
        assert recv(client) == <<0x20, 2, 0, code>>
        assert_closed(client)
        assert_receive {:DOWN, ^ref, _, _, :normal}
        refute_received {:terminate, _}
        refute_received {:report, ^pid, _}
      end
    end

    test_each "may act" do
      for actions <- [{:publish, "a", "b"}, [{:publish, "a", "b"}]] do
        {port, opts} = everything(transport, {:ok, actions})
        client = connect(port, opts)
        assert recv(client) == publish_packet("a", "b")
      end
    end
  end

  describe "handle_publish/4" do
    test_each "gets topic, message and flags" do
      {client, _, _} = connected(transport)
      long = String.duplicate("x", 1000)
      send_bytes(client, [publish_packet("a/b", "short"), <<0x31, 3, 0, 1, "r">>])
      send_bytes(client, publish_packet("long", long))
      assert_receive {:publish, "a/b", "short", %{qos: 0, dup: false, retain: false}}
      assert_receive {:publish, "r", "", %{qos: 0, dup: false, retain: true}}
      assert_receive {:publish, "long", ^long, _}
    end

    test_each "may publish, and may stop" do
      {client, _, ref} = connected(transport)
      send_bytes(client, publish_packet("echo/1", "back"))
      assert recv(client) == publish_packet("echo/1", "back")
      send_bytes(client, [publish_packet("echo/2", "before"), publish_packet("stop", "enough")])
      assert recv(client) == publish_packet("echo/2", "before")
      assert_closed(client)
      assert_receive {:terminate, :enough}
      assert_receive {:DOWN, ^ref, _, _, :enough}
    end
  end

  describe "handle_subscribe/3" do
    test_each "is called for each filter, and SUBACK has the codes in order" do
      {client, _, _} = connected(transport)
      filters = [{"a/+", %{qos: 1}}, {"deny", %{qos: 0}}, {"#", %{qos: 2}}]
      subscribe = %{type: :subscribe, packet_id: 10, filters: filters}
      {:ok, bytes} = MQTT.Packet.encode(subscribe, 4)
      send_bytes(client, bytes)
      assert recv(client) == <<0x90, 5, 0, 10, 1, 0x80, 2>>
      assert_receive {:subscribe, "a/+", 1}
      assert_receive {:subscribe, "#", 2}
    end

    test_each "may publish behind SUBACK, and may stop" do
      {client, _, _} = connected(transport)
      send_bytes(client, <<0x82, 10, 0, 1, 0, 5, "greet", 0>>)
      assert recv(client) == <<0x90, 3, 0, 1, 0>>
      assert recv(client) == publish_packet("greet", "hello")
      send_bytes(client, <<0x82, 9, 0, 2, 0, 4, "stop", 0>>)
      assert_closed(client)
      assert_receive {:terminate, :subscribed}
    end
  end

  describe "handle_unsubscribe/2" do
    test_each "is called for each filter, and UNSUBACK follows" do
      {client, _, _} = connected(transport)
      send_bytes(client, <<0xA2, 8, 0, 3, 0, 1, "a", 0, 1, "b">>)
      assert recv(client) == <<0xB0, 2, 0, 3>>
      assert_receive {:unsubscribe, "a"}
      assert_receive {:unsubscribe, "b"}
    end

    test_each "may publish, and may stop" do
      {client, _, _} = connected(transport)
      send_bytes(client, <<0xA2, 12, 0, 4, 0, 8, "farewell">>)
      assert recv(client) == <<0xB0, 2, 0, 4>>
      assert recv(client) == publish_packet("farewell", "bye")
      send_bytes(client, <<0xA2, 8, 0, 5, 0, 4, "stop">>)
      assert_closed(client)
      assert_receive {:terminate, :unsubscribed}
    end
  end

  describe "calls, casts and messages" do
    test_each "handle_call/3 replies at once or later, publishes, stops" do
      {client, pid, ref} = connected(transport)
      assert GenServer.call(pid, :ping) == :pong
      assert GenServer.call(pid, :later) == :late
      assert GenServer.call(pid, {:publish, "a", "b"}) == :published
      assert recv(client) == publish_packet("a", "b")
      assert {:called, _} = catch_exit(GenServer.call(pid, :stop))
      assert_receive {:terminate, :called}
      assert_receive {:DOWN, ^ref, _, _, :called}
      assert_closed(client)
    end

    test_each "handle_cast/2 and handle_info/2 act in every form" do
      {client, pid, _} = connected(transport)

      forms = [
        {:publish, "a", "1"},
        [{:publish, "a", "2"}, {:publish, "a", "3"}],
        {:publish, ["a"], [?4, ["x" | "y"]]},
        {:publish, "a", "5", %{}},
        {:publish, "a", "6", %{qos: 0}},
        {:publish, "a", "7", %{qos: 0, retain: true}},
        []
      ]

      for tell <- [&GenServer.cast/2, &send/2], do: Enum.each(forms, &tell.(pid, {:act, &1}))

      for _ <- 1..2 do
        for message <- ["1", "2", "3", "4xy", "5", "6"] do
          assert recv(client) == publish_packet("a", message)
        end

        assert recv(client) == <<0x31, 4, 0, 1, "a7">>
      end

      GenServer.cast(pid, :hello)
      assert_receive {:cast, :hello}
    end

    test_each "handle_cast/2 and handle_info/2 may stop" do
      {client, pid, _} = connected(transport)
      GenServer.cast(pid, :stop)
      assert_receive {:terminate, :cast}
      assert_closed(client)
      {client, pid, _} = connected(transport)
      send(pid, :stop)
      assert_receive {:terminate, :told}
      assert_closed(client)
    end

    test_each "messages that look like the transport's reach handle_info/2" do
      {client, pid, _} = connected(transport)

      messages = [
        :timeout,
        {:tcp, :x, "data"},
        {:ssl_closed, :y},
        {:timeout, make_ref(), :exit},
        {:"$other", 1}
      ]

      for message <- messages, do: send(pid, message)
      for message <- messages, do: assert_receive({:info, ^message})
      assert_open(client)
    end
  end

  describe "terminate/2" do
    test_each "DISCONNECT is normal" do
      {client, _, ref} = connected(transport)

      send_bytes(client, [
        publish_packet("a", "last"),
        <<0xE0, 0>>,
        publish_packet("a", "too late")
      ])

      assert_receive {:terminate, :normal}
      assert_receive {:DOWN, ^ref, _, _, :normal}
      assert_received {:publish, "a", "last", _}
      refute_received {:publish, "a", "too late", _}
      assert_closed(client)
    end

    test_each "a client that goes without a word has closed" do
      {client, _, ref} = connected(transport)
      close(client)
      assert_receive {:terminate, {:shutdown, :closed}}
      assert_receive {:DOWN, ^ref, _, _, {:shutdown, :closed}}
    end

    test_each "a broken packet is a protocol error" do
      {client, _, ref} = connected(transport)
      send_bytes(client, [publish_packet("a", "good"), <<0x30, 3, 0, 1, "#">>])
      assert_closed(client)
      reason = {:shutdown, {:protocol_error, :wildcard_in_topic_name}}
      assert_receive {:terminate, ^reason}
      assert_receive {:DOWN, ^ref, _, _, ^reason}
      assert_received {:publish, "a", "good", _}
    end

    test_each "stop/1 and stop/3" do
      {client, pid, _} = connected(transport)
      assert MQTT.Server.stop(pid) == :ok
      assert_receive {:terminate, :normal}
      assert_closed(client)
      {client, pid, ref} = connected(transport)
      assert :mqtt_server.stop(pid, :shutdown, 5_000) == :ok
      assert_receive {:terminate, :shutdown}
      assert_receive {:DOWN, ^ref, _, _, :shutdown}
      assert_closed(client)
    end
  end

  test_each "code_change/3 is passed on" do
    {client, pid, _} = connected(transport)

    for {extra, result} <- [extra: :ok, refuse: {:error, {:error, :refused}}] do
      :ok = :sys.suspend(pid)
      assert :sys.change_code(pid, Everything, {:down, 1}, extra) == result
      :ok = :sys.resume(pid)
      assert_receive {:code_change, {:down, 1}, ^extra}
    end

    assert_open(client)
  end

  test_each "PINGREQ is answered" do
    {client, _, _} = connected(transport)
    for _ <- 1..3, do: assert_open(client)
  end

  test_each "the defaults of `use MQTT.Server`" do
    {port, opts} = serve(transport, Defaults, self())
    client = connect(port, opts)
    assert_receive {:connection, pid}
    send_bytes(client, publish_packet("a", "b"))
    send_bytes(client, <<0x82, 10, 0, 1, 0, 1, "a", 2, 0, 1, "b", 0>>)
    assert recv(client) == <<0x90, 4, 0, 1, 0x80, 0x80>>
    send_bytes(client, <<0xA2, 5, 0, 2, 0, 1, "a">>)
    assert recv(client) == <<0xB0, 2, 0, 2>>
    assert GenServer.call(pid, :anything) == {:error, {:bad_call, :anything}}
    GenServer.cast(pid, :anything)
    send(pid, :anything)
    :ok = :sys.suspend(pid)
    assert :sys.change_code(pid, Defaults, 1, []) == :ok
    :ok = :sys.resume(pid)
    assert_open(client)
    assert MQTT.Server.stop(pid) == :ok
  end
end
