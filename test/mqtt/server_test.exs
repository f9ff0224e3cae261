defmodule MQTT.ServerTest do
  # What is new beside 0.2.2.
  use MQTT.Test.Compat

  alias MQTT.Test.{Acceptor, Faulty, Residue, Scripted}

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

  # Not at a listener, where no process exists before CONNECT.
  for transport <- [:tcp, :socket, :ssl] do
    @tag transport: transport
    test "#{transport}: what comes before CONNECT is handled behind it, in order",
         %{transport: transport} do
      test = self()
      prepare = fn _socket -> send(test, {:process, self()}) end
      server = [module: Told, args: {self(), false}, transport: transport, prepare: prepare]
      client = server |> Acceptor.start() |> open(tls: transport == :ssl)
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
      started = System.monotonic_time(:millisecond)
      client = open(port, opts)
      send_bytes(client, <<0x10, 13>>)
      assert_closed(client)
      # Not the default, which is 5 s.
      assert System.monotonic_time(:millisecond) - started < 4_000
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

    Residue.eventually(fn -> assert Residue.hibernates?(pid) end)
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

  describe "what is published" do
    defp acting(transport) do
      {port, opts} = serve(transport, Faulty, {self(), nil})
      client = connect(port, opts)
      assert_receive {:connected, pid, _}
      {client, pid}
    end

    test_each "is written before a reply that follows it" do
      {client, pid} = acting(transport)
      assert GenServer.call(pid, {:act, [{:publish, "a", "goodbye"}]}) == :acted
      # It may be gone now, and nothing is lost.
      Process.exit(pid, :kill)
      assert recv(client) == publish_packet("a", "goodbye")
    end

    test_each "before a bad action is sent, and once" do
      {client, pid} = acting(transport)
      for n <- 1..10, do: GenServer.cast(pid, {:act, {:publish, "a", "#{n}"}})

      GenServer.cast(
        pid,
        {:act, [{:publish, "a", "11"}, {:publish, "a/#", "bad"}, {:publish, "a", "13"}]}
      )

      for n <- 1..11, do: assert(recv(client) == publish_packet("a", "#{n}"))
      assert_closed(client)
      assert_receive {:terminate, {%ArgumentError{}, _}, nil}
    end

    test "before a callback in the same batch raises is sent" do
      {client, _pid} = acting(:listener)
      send_bytes(client, [publish_packet("echo", "sent"), publish_packet("raise", "")])
      assert recv(client) == publish_packet("echo", "sent")
      assert_closed(client)
    end
  end

  describe "between CONNECT and CONNACK" do
    defmodule Registers do
      use MQTT.Server

      @impl true
      def init({test, actions}, _params) do
        send(test, {:init, self()})
        receive do: (:go_on -> {:ok, test, actions})
      end

      @impl true
      def handle_info(:raise, _test), do: raise("kept")

      @impl true
      def terminate(reason, test), do: send(test, {:terminate, reason})
    end

    test_each "a message that was kept and raises, and terminate/2 is called for what init/2 did" do
      {port, opts} = serve(transport, Registers, {self(), []})
      client = open(port, opts)
      send_bytes(client, connect_packet())
      assert_receive {:init, pid}
      send(pid, :raise)
      send(pid, :go_on)
      assert_receive {:terminate, {%RuntimeError{message: "kept"}, _}}
      assert recv(client) == <<0x20, 2, 0, 0>>
      assert_closed(client)
    end

    test_each "an action of init/2 that is bad, and the same" do
      {port, opts} = serve(transport, Registers, {self(), {:publish, "#", ""}})
      client = open(port, opts)
      send_bytes(client, connect_packet())
      assert_receive {:init, pid}
      send(pid, :go_on)
      assert_receive {:terminate, {%ArgumentError{}, _}}
      assert recv(client) == <<0x20, 2, 0, 0>>
      assert_closed(client)
    end

    test_each "nothing is lost of what came behind a large CONNECT" do
      will = %{topic: "w", payload: :binary.copy("x", 40_000), qos: 0, retain: false}
      {port, opts} = serve(transport, Faulty, {self(), nil})
      client = open(port, opts)
      packets = for n <- 1..5, do: publish_packet("echo", "#{n}")
      send_bytes(client, [connect_packet(will: will), packets])
      assert recv(client) == <<0x20, 2, 0, 0>>
      for packet <- packets, do: assert(recv(client) == packet)
    end
  end

  test "a peer that closes during a callback, over ssl" do
    {port, opts} = serve(:ssl, Faulty, {self(), nil})
    client = connect(port, [connect: connect_packet(keep_alive: 0)] ++ opts)
    send_bytes(client, publish_packet("wait", ""))
    assert_receive {:waiting, pid}
    close(client)
    send(pid, :go_on)
    assert_receive {:terminate, {:shutdown, :closed}, _}
  end

  test "a packet that takes longer than the Keep Alive is taken as long as it comes" do
    {port, _} = serve(:listener, Faulty, {self(), nil})
    client = connect(port, connect: connect_packet(keep_alive: 1))
    packet = publish_packet("echo", :binary.copy("x", 100_000))
    {head, tail} = :erlang.split_binary(packet, 50_000)
    send_bytes(client, head)

    for piece <- for(<<piece::binary-size(10_000) <- tail>>, do: piece) do
      refute_receive {:terminate, _, _}, 500
      send_bytes(client, piece)
    end

    send_bytes(client, binary_part(tail, byte_size(tail), -rem(byte_size(tail), 10_000)))
    assert recv(client) == packet
  end

  test "a subscription is granted no more than it asks for" do
    {port, _} = serve(:listener, MQTT.ServerTest.Generous, nil)
    client = connect(port)
    send_bytes(client, <<0x82, 14, 0, 1, 0, 1, "a", 0, 0, 1, "b", 1, 0, 1, "c", 2>>)
    assert recv(client) == <<0x90, 5, 0, 1, 0, 1, 1>>
  end

  defmodule Generous do
    use MQTT.Server
    @impl true
    def init(_args, _params), do: {:ok, nil}
    @impl true
    def handle_subscribe(_filter, _qos, state), do: {:ok, 1, state}
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

      client = open(port, opts)
      send_bytes(client, connect_packet(protocol_version: 5))
      assert <<0x20, _, 0, 0, _::binary>> = recv(client)
      send_bytes(client, <<0x82, 13, 1::16, 0, 7::16, "a/b/c/d", 0>>)
      assert <<0xE0, _, 0x8F, _::binary>> = recv(client)
    end
  end

  describe "what the client may not do" do
    @violations [
      second_connect: <<0x10, 12, 0, 4, "MQTT", 4, 2, 0, 0, 0, 0>>,
      unexpected_packet: <<0x20, 2, 0, 0>>,
      unexpected_packet: <<0xD0, 0>>,
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
        _ = :sys.get_state(pid)
        send_bytes(client, unquote(bytes))
        reason = {:shutdown, {:protocol_error, unquote(which)}}
        assert_receive {:terminate, ^reason, _}
        assert_receive {:DOWN, ^ref, _, _, ^reason}
        assert_closed(client)
      end
    end

    test_each "which is told in the same way over every transport" do
      {port, opts} = serve(transport, Faulty, {self(), nil})

      for {which, bytes} <- [
            second_connect: connect_packet(),
            invalid_utf8: <<0x30, 3, 0, 1, 0xFF>>
          ] do
        client = connect(port, opts)
        send_bytes(client, bytes)
        assert_receive {:terminate, {:shutdown, {:protocol_error, ^which}}, _}
        assert_closed(client)
      end

      <<head::binary-size(8), 4, rest::binary>> = connect_packet()
      client = open(port, opts)
      send_bytes(client, <<head::binary, 6, rest::binary>>)
      assert recv(client) == <<0x20, 2, 0, 1>>
      assert_closed(client)
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
          {{:publish, :a, ""}, "topic is no iodata"},
          {{:publish, "a", 1}, "message is no iodata"},
          {{:publish, "a", "", %{qos: 3}}, "qos is not 0 or 1 or 2"},
          {{:publish, "a", "", %{properties: %{topic_alias: 1}}}, "property not allowed"},
          {{:publish, "a", "", %{properties: %{nonsense: 1}}},
           "it cannot have the property :nonsense, or not with the value 1"},
          {{:disconnect, :nonsense}, "no such reason code"},
          {{:publish, "a", "", [qos: 0]}, "options are no map"},
          {:nonsense, "it is none of those that MQTT.Server has"}
        ] do
      {port, _} = serve(:tcp, Scripted, Scripted.with_functions())
      connect(port)
      assert_receive {:init, pid, _}
      GenServer.cast(pid, {:act, action})
      assert_receive {:terminate, {%ArgumentError{message: message}, _stacktrace}, _session}
      assert message =~ text
    end
  end

  test "what is no module with callbacks and no transport is named" do
    transport = %MQTT.Transport{type: :tcp, socket: nil}

    for {module, transport, sentence} <- [
          {No.Such, transport, ~r/expected a module with callbacks of MQTT.Server, got: No.Such/},
          {Enum, transport, ~r/expected a module with callbacks of MQTT.Server, got: Enum/},
          {Faulty, :socket, ~r/expected what MQTT.Transport.new\/2 gives, got: :socket/}
        ] do
      assert_raise ArgumentError, sentence, fn ->
        MQTT.Server.enter_loop(module, [], transport)
      end
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
