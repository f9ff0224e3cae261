defmodule MQTT.Compat.ErlangTest do
  use MQTT.Test.Compat

  # It is compiled when the tests begin.
  @compile {:no_warn_undefined, :erlang_handler}
  @handler :erlang_handler

  setup_all do
    source = Path.join(__DIR__, "erlang_handler.erl") |> String.to_charlist()
    options = [:binary, :warnings_as_errors, :return, :nowarn_unused_record]
    {:ok, @handler, code, []} = :compile.file(source, options)
    {:module, @handler} = :code.load_binary(@handler, source, code)
    :ok
  end

  test "the behaviour asks for the callbacks of 0.2.2" do
    required =
      :mqtt_server.behaviour_info(:callbacks) -- :mqtt_server.behaviour_info(:optional_callbacks)

    assert Enum.sort(required) == [
             code_change: 3,
             handle_call: 3,
             handle_cast: 2,
             handle_info: 2,
             handle_publish: 4,
             handle_subscribe: 3,
             handle_unsubscribe: 2,
             init: 2,
             terminate: 2
           ]
  end

  test_each "a handler in Erlang" do
    {port, opts} = serve(transport, @handler, self())
    client = open(port, opts)
    send_bytes(client, connect_packet())
    assert_receive {:init, pid, "MQTT"}
    exercise(client, pid)
  end

  test "a handler in Erlang that enters the loop itself" do
    opts = [:binary, active: false, ip: {127, 0, 0, 1}]
    {:ok, listen_socket} = :gen_tcp.listen(0, opts)
    {:ok, port} = :inet.port(listen_socket)
    client = open(port)
    {:ok, socket} = :gen_tcp.accept(listen_socket)
    pid = @handler.start({self(), socket})
    send_bytes(client, connect_packet())
    assert_receive {:init, ^pid, "MQTT"}
    exercise(client, pid)
  end

  defp exercise(client, pid) do
    assert recv(client) == <<0x20, 2, 0, 0>>
    assert recv(client) == publish_packet("clients/client", "up")

    send_bytes(client, publish_packet("a", "b"))
    assert recv(client) == publish_packet("packet", publish_packet("a", "b"))
    send_bytes(client, <<0x82, 13, 0, 1, 0, 4, "deny", 0, 0, 1, "a", 1>>)
    assert recv(client) == <<0x90, 4, 0, 1, 0x80, 1>>
    send_bytes(client, <<0xA2, 5, 0, 2, 0, 1, "a">>)
    assert recv(client) == <<0xB0, 2, 0, 2>>

    assert GenServer.call(pid, :client) == "client"
    GenServer.cast(pid, {:publish, "c", ["d"]})
    assert recv(client) == <<0x31, 4, 0, 1, "cd">>
    send(pid, :hello)
    assert_receive {:info, :hello}
    assert :mqtt_server.stop(pid) == :ok
    assert_receive {:terminate, :normal}
    assert_closed(client)
  end
end
