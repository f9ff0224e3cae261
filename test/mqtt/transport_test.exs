defmodule MQTT.TransportTest do
  use ExUnit.Case, async: true
  doctest MQTT.Transport

  import MQTT.Test.Wire

  alias MQTT.Test.{Acceptor, Faulty}

  defp serve(transport, prepare, options \\ []) do
    args = {self(), nil}

    Acceptor.start(
      transport: transport,
      module: Faulty,
      args: args,
      prepare: prepare,
      options: options
    )
  end

  for transport <- [:tcp, :socket] do
    describe "a gen_tcp socket (#{transport})" do
      @transport transport

      test "of which the caller has read some bytes" do
        port = serve(@transport, fn socket -> {:ok, "hello"} = :gen_tcp.recv(socket, 5) end)
        client = open(port)
        send_bytes(client, ["hello", connect_packet(), publish_packet("echo", "a")])
        assert recv(client) == <<0x20, 2, 0, 0>>
        assert recv(client) == publish_packet("echo", "a")
      end

      test "of which the caller wanted more bytes than have come" do
        test = self()

        port =
          serve(@transport, fn socket ->
            {:error, :timeout} = :gen_tcp.recv(socket, 100, 200)
            send(test, :given_up)
          end)

        client = open(port)
        {head, tail} = :erlang.split_binary(connect_packet(), 5)
        send_bytes(client, head)
        assert_receive :given_up
        send_bytes(client, tail)
        assert recv(client) == <<0x20, 2, 0, 0>>
      end

      test "that was active, with bytes in the mailbox" do
        test = self()

        port =
          serve(@transport, fn socket ->
            :ok = :inet.setopts(socket, active: :once)
            # The message is put back, as if it had come only now.
            receive do: ({:tcp, ^socket, _} = message -> send(self(), message))
            send(test, :received)
          end)

        client = open(port)
        {head, tail} = :erlang.split_binary(connect_packet(), 5)
        send_bytes(client, head)
        assert_receive :received
        send_bytes(client, tail)
        assert recv(client) == <<0x20, 2, 0, 0>>
      end

      test "whose client has left again already" do
        test = self()

        port =
          serve(@transport, fn socket ->
            :ok = :inet.setopts(socket, active: :once)
            receive do: ({:tcp, ^socket, _} = message -> send(self(), message))
            send(test, {:received, self()})
            receive do: (:go_on -> :ok)
          end)

        client = open(port)
        send_bytes(client, [connect_packet(), publish_packet("wait", "a"), <<0xE0, 0>>])
        assert_receive {:received, acceptor}
        close(client)
        # Until the kernel says so of the other end.
        receive after: (50 -> :ok)
        send(acceptor, :go_on)
        # Its message, and behind that its DISCONNECT.
        assert_receive {:waiting, pid}
        monitor = Process.monitor(pid)
        send(pid, :go_on)
        assert_receive {:DOWN, ^monitor, _, _, :normal}
      end

      test "with other options: a linger of zero, a packet mode, lists" do
        port =
          serve(@transport, fn socket ->
            :ok = :inet.setopts(socket, linger: {true, 0}, packet: 2, mode: :list, nodelay: false)
          end)

        client = connect(port)
        assert_receive {:connected, pid, _}
        send_bytes(client, publish_packet("echo", "last"))
        assert recv(client) == publish_packet("echo", "last")
        MQTT.Server.stop(pid)
        # An end, and not a reset.
        assert :gen_tcp.recv(client.socket, 0, 5_000) == {:error, :closed}
      end

      test "stays open for inet:peername/1 while the connection lasts" do
        test = self()
        port = serve(@transport, &send(test, {:socket, &1}))
        client = connect(port)
        assert_receive {:socket, socket}
        assert_receive {:connected, pid, _}
        assert :inet.peername(socket) == :inet.sockname(client.socket)
        ref = Process.monitor(pid)
        close(client)
        assert_receive {:DOWN, ^ref, _, _, _}
        assert {:error, _} = :inet.peername(socket)
      end

      test "is closed at once with keep_socket: false, and the connection goes on" do
        test = self()
        port = serve(@transport, &send(test, {:socket, &1}), keep_socket: false)
        client = connect(port)
        assert_receive {:socket, socket}
        assert {:error, _} = :inet.peername(socket)
        assert_open(client)
      end

      test "whose peer is gone already ends quietly" do
        test = self()

        port =
          serve(@transport, fn socket ->
            send(test, {:process, self()})
            receive do: (:go_on -> :gen_tcp.close(socket))
          end)

        client = open(port)
        assert_receive {:process, pid}
        ref = Process.monitor(pid)
        close(client)
        send(pid, :go_on)
        assert_receive {:DOWN, ^ref, _, _, {:shutdown, :closed}}
      end
    end
  end

  test "an ssl socket of which the caller has read some bytes" do
    port = serve(:ssl, fn socket -> {:ok, "hello"} = :ssl.recv(socket, 5) end)
    client = open(port, tls: true)
    send_bytes(client, ["hello", connect_packet(), publish_packet("echo", "a")])
    assert recv(client) == <<0x20, 2, 0, 0>>
    assert recv(client) == publish_packet("echo", "a")
  end

  test "what is no socket is refused with a sentence" do
    for {type, socket, message} <- [
          {:tcp, nil, "nil is not a socket of type :tcp"},
          {:ssl, 1, "1 is not a socket of type :ssl"},
          {:udp, nil, "the type of a transport must be :tcp or :ssl, got: :udp"}
        ] do
      error = assert_raise ArgumentError, fn -> MQTT.Transport.new(type, socket) end
      assert error.message == message
    end
  end
end
