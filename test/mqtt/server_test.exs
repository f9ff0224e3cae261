defmodule MQTT.ServerTest do
  # What is new beside 0.2.2.
  use MQTT.Test.Compat

  alias MQTT.Test.{Acceptor, Faulty}

  defmodule Told do
    use MQTT.Server

    @impl true
    def init({test, wait}, params) do
      send(test, {:init, self(), params})
      if wait, do: receive(do: (:go_on -> :ok))
      {:ok, test}
    end

    @impl true
    def handle_info(message, test), do: {:ok, test, {:publish, "told", inspect(message)}}

    @impl true
    def handle_cast(message, test), do: {:ok, test, {:publish, "cast", inspect(message)}}

    @impl true
    def handle_call(message, from, test), do: {:ok, test, {:reply, from, {:got, message}}}
  end

  describe "params" do
    test_each "say how the client came" do
      {port, opts} = serve(transport, Told, {self(), false})
      client = connect(port, opts)
      assert_receive {:init, _, params}
      assert %{protocol_version: 4, keep_alive: 60} = params
      assert params.transport == if(transport == :ssl, do: :ssl, else: :tcp)
      assert params.local == {{127, 0, 0, 1}, port}
      module = if transport == :ssl, do: :ssl, else: :inet
      assert {:ok, params.peer} == module.sockname(client.socket)
      refute Map.has_key?(params, :peer_certificate)
    end
  end

  test_each "what comes before CONNECT is handled behind it, in order" do
    test = self()

    if transport in [:tcp, :socket, :ssl] do
      prepare = fn _socket -> send(test, {:process, self()}) end

      port =
        Acceptor.start(
          module: Told,
          args: {self(), false},
          transport: transport,
          prepare: prepare
        )

      client = open(port, tls: transport == :ssl)
      assert_receive {:process, pid}
      send(pid, 1)
      GenServer.cast(pid, 2)
      call = Task.async(fn -> GenServer.call(pid, 3) end)
      assert :sys.get_state(pid).phase == :connecting
      send_bytes(client, connect_packet())
      assert recv(client) == <<0x20, 2, 0, 0>>
      assert recv(client) == publish_packet("told", "1")
      assert recv(client) == publish_packet("cast", "2")
      assert Task.await(call) == {:got, 3}
    end
  end

  test_each "packets behind CONNECT wait for init/2" do
    {port, opts} = serve(transport, Told, {self(), true})
    client = open(port, opts)
    send_bytes(client, [connect_packet(), <<0xC0, 0>>, <<0xE0, 0>>])
    assert_receive {:init, pid, _}
    send(pid, :go_on)
    assert recv(client) == <<0x20, 2, 0, 0>>
    assert recv(client) == <<0xD0, 0>>
    assert_closed(client)
  end

  describe "time" do
    test_each "no CONNECT within connect_timeout" do
      {port, opts} = serve(transport, Told, {self(), false}, options: [connect_timeout: 100])
      client = open(port, opts)
      send_bytes(client, <<0x10, 13>>)
      assert_closed(client)
      refute_received {:init, _, _}
    end

    test_each "a client that says nothing for one and a half times its Keep Alive [MQTT-3.1.2-24]" do
      {port, opts} = serve(transport, Faulty, {self(), nil})
      client = connect(port, [connect: connect_packet(keep_alive: 1)] ++ opts)
      assert_receive {:connected, _, _}
      assert_receive {:terminate, {:shutdown, :keep_alive_timeout}, _}, 3_000
      assert_closed(client)
    end

    test_each "a Keep Alive of 0 with an idle_timeout" do
      {port, opts} = serve(transport, Faulty, {self(), nil}, options: [idle_timeout: 100])
      client = connect(port, [connect: connect_packet(keep_alive: 0)] ++ opts)
      assert_receive {:terminate, {:shutdown, :keep_alive_timeout}, _}
      assert_closed(client)
    end

    test "a client whose packets wait for a slow callback is not silent" do
      {port, _} = serve(:listener, Faulty, {self(), nil}, options: [idle_timeout: 100])
      client = connect(port, connect: connect_packet(keep_alive: 0))
      send_bytes(client, publish_packet("wait", ""))
      assert_receive {:waiting, pid}
      send_bytes(client, publish_packet("echo", "unread"))
      refute_receive {:terminate, _, _}, 300
      send(pid, :go_on)
      assert recv(client) == publish_packet("echo", "unread")
    end
  end

  test_each "the process hibernates when it is idle" do
    {port, opts} = serve(transport, Faulty, {self(), nil}, options: [hibernate_after: 50])
    client = connect(port, opts)
    assert_receive {:connected, pid, _}

    MQTT.Test.Residue.eventually(fn ->
      # As the emulator calls it, or from OTP 28 on as gen_server does.
      assert {:current_function, {_, function, _}} = Process.info(pid, :current_function)
      assert function in [:hibernate, :loop_hibernate]
    end)

    assert_open(client)
  end

  test_each "it answers sys" do
    {port, opts} = serve(transport, Faulty, {self(), nil})
    client = connect(port, opts)
    assert_receive {:connected, pid, _}
    assert %{state: {_, nil}, module: Faulty} = :sys.get_state(pid)
    assert {:status, ^pid, _, _} = :sys.get_status(pid)
    :ok = :sys.suspend(pid)
    send_bytes(client, publish_packet("echo", "held"))
    :ok = :sys.resume(pid)
    assert recv(client) == publish_packet("echo", "held")
  end

  describe "limits" do
    test_each "max_packet_size holds from CONNACK on, max_connect_size before" do
      options = [max_packet_size: 100, max_connect_size: 200]
      {port, opts} = serve(transport, Faulty, {self(), nil}, options: options)
      long = connect_packet(username: String.duplicate("u", 150))
      client = connect(port, [connect: long] ++ opts)
      fits = publish_packet("echo", String.duplicate("x", 92))
      assert byte_size(fits) == 100
      send_bytes(client, fits)
      assert recv(client) == fits
      send_bytes(client, publish_packet("echo", String.duplicate("x", 93)))
      assert_receive {:terminate, {:shutdown, {:protocol_error, :packet_too_large}}, _}
      assert_closed(client)

      client = open(port, opts)
      send_bytes(client, connect_packet(username: String.duplicate("u", 200)))
      assert_closed(client)
    end

    test_each "max_topic_levels" do
      {port, opts} = serve(transport, Faulty, {self(), nil}, options: [max_topic_levels: 3])
      client = connect(port, opts)
      send_bytes(client, publish_packet("a/b/c", ""))
      assert_open(client)
      send_bytes(client, publish_packet("a/b/c/d", ""))
      assert_receive {:terminate, {:shutdown, {:protocol_error, :too_many_topic_levels}}, _}
    end
  end

  describe "what the client may not do" do
    @violations [
      second_connect: <<0x10, 12, 0, 4, "MQTT", 4, 2, 0, 0, 0, 0>>,
      unexpected_packet: <<0x20, 2, 0, 0>>,
      unexpected_packet: <<0x40, 2, 0, 1>>,
      unexpected_packet: <<0x62, 2, 0, 1>>,
      unexpected_packet: <<0xD0, 0>>,
      qos_not_supported: <<0x32, 5, 0, 1, "a", 0, 1>>,
      qos_not_supported: <<0x34, 5, 0, 1, "a", 0, 1>>,
      invalid_qos: <<0x36>>,
      reserved_flags: <<0x80>>,
      reserved_packet_type: <<0x00>>,
      remaining_length_too_long: <<0x30, 0xFF, 0xFF, 0xFF, 0xFF>>,
      invalid_utf8: <<0x30, 3, 0, 1, 0xFF>>,
      surrogate_in_string: <<0x30, 5, 0, 3, 0xED, 0xA0, 0x80>>,
      overlong_utf8: <<0x30, 4, 0, 2, 0xC0, 0x80>>,
      nul_in_string: <<0x30, 3, 0, 1, 0>>,
      empty_topic_name: <<0x30, 2, 0, 0>>,
      no_topic_filters: <<0x82, 2, 0, 1>>,
      zero_packet_identifier: <<0x82, 6, 0, 0, 0, 1, "a", 0>>,
      misplaced_multi_level_wildcard: <<0x82, 7, 0, 1, 0, 2, "a#", 0>>,
      misplaced_single_level_wildcard: <<0x82, 7, 0, 1, 0, 2, "a+", 0>>,
      trailing_bytes: <<0xC0, 1, 0>>,
      truncated: <<0x30, 1, 0>>
    ]

    for {{which, bytes}, index} <- Enum.with_index(@violations) do
      test "#{index}: #{which}" do
        {port, _} = serve(:tcp, Faulty, {self(), nil})
        client = connect(port)
        assert_receive {:connected, pid, _}
        ref = Process.monitor(pid)
        send_bytes(client, unquote(bytes))
        reason = {:shutdown, {:protocol_error, unquote(which)}}
        assert_receive {:terminate, ^reason, _}
        assert_receive {:DOWN, ^ref, _, _, down} when down in [reason, :noproc]
        assert_closed(client)
      end
    end

    test_each "before CONNECT" do
      for bytes <- [<<0xC0, 0>>, publish_packet("a", "b"), "GET / HTTP/1.1\r\n\r\n"] do
        {port, opts} = serve(transport, Faulty, {self(), nil})
        client = open(port, opts)
        send_bytes(client, bytes)
        assert_closed(client)
      end

      refute_received {:terminate, _, _}
    end
  end

  test "bad actions raise with a sentence" do
    for {action, text} <- [
          {{:publish, "a/#", ""}, "wildcard in topic name"},
          {{:publish, "", ""}, "empty topic name"},
          {{:publish, "a\0", ""}, "nul in string"},
          {{:publish, <<0xFF>>, ""}, "invalid utf8"},
          {{:publish, String.duplicate("x", 65_536), ""}, "string too long"},
          {{:publish, :a, ""}, "badarg"},
          {{:publish, "a", 1}, "badarg"},
          {{:publish, "a", "", %{qos: 3}}, "badarg"},
          {{:publish, "a", "", %{qos: 1}}, "qos not supported"},
          {{:publish, "a", "", [qos: 0]}, "badarg"},
          {:nonsense, "it is none of those that MQTT.Server has"}
        ] do
      {port, _} = serve(:tcp, MQTT.Compat.Everything, {self(), :ok})
      connect(port)
      assert_receive {:init, pid, _}
      GenServer.cast(pid, {:act, action})
      assert_receive {:terminate, {%ArgumentError{message: message}, _stacktrace}}
      assert message =~ text
    end
  end

  test "options that are wrong raise with a sentence that names them" do
    transport = %MQTT.Transport{type: :tcp, socket: nil}

    for {options, message} <- [
          {[hibernate: 1],
           "unknown option :hibernate of MQTT.Server; allowed are :connect_timeout,"},
          {[max_packet_size: 10],
           "option :max_packet_size of MQTT.Server must be an integer from 64"},
          {[max_queue_bytes: 0],
           "option :max_queue_bytes of MQTT.Server must be an integer of at least 1"}
        ] do
      error =
        assert_raise ArgumentError, fn ->
          MQTT.Server.enter_loop(Faulty, {self(), nil}, transport, options)
        end

      assert error.message =~ message
    end
  end
end
