defmodule MQTT.RejectingTest do
  # Clients that are not let in, what they are told of it, and what the logger is.
  use MQTT.Test.Compat

  import ExUnit.CaptureLog
  import MQTT.Test.Mqtt5, only: [connect_5: 3]

  alias MQTT.Test.Scripted

  test "a number of MQTT 5.0 is one of MQTT 3.1.1 to a client of that, and others stay" do
    for {reason, code} <- [{0x87, 5}, {0x88, 3}, {:not_authorized, 5}, {4, 4}, {9, 9}] do
      client = rejected(fn _params, _state -> {:stop, reason} end, connect_packet())
      assert recv_all(client) == <<0x20, 2, 0, code>>
    end
  end

  test "a number of MQTT 5.0 is sent to a client of that" do
    {port, opts} = rejecting(fn _params, _state -> {:stop, 0x8A} end)
    assert {_client, %{type: :connack, reason_code: 0x8A}} = connect_5(port, opts, [])
  end

  test "no report has the password of a client that is not let in" do
    secret = [username: "user", password: "the secret"]

    ways = [
      fn _params, _state -> {:stop, :because} end,
      fn _params, _state -> {:error, :not_authorized} end,
      fn _params, _state -> raise "an error" end,
      fn %{client_id: "somebody"}, state -> {:ok, state} end
    ]

    for init <- ways do
      assert report(%{init: init}, connect_packet(secret)) =~ "terminating"
    end
  end

  test "nor has one what a client says in a further step" do
    init = fn _params, state -> {:continue, %{}, state} end

    ways = [
      fn _reason, _properties, _state -> raise "an error" end,
      fn :success, _properties, state -> {:ok, state} end
    ]

    for handle_auth <- ways do
      functions = %{init: init, handle_auth: handle_auth}
      properties = %{authentication_method: "m", authentication_data: "the secret"}

      connect =
        connect_packet(protocol_version: 5, password: "the secret", properties: properties)

      {:ok, auth} =
        MQTT.Packet.encode(%{type: :auth, reason_code: 0x18, properties: properties}, 5)

      assert report(functions, connect <> auth) =~
               "terminating"
    end
  end

  defp rejecting(init), do: serve(:tcp, Scripted, Scripted.with_functions(%{init: init}))

  defp rejected(init, connect) do
    {port, opts} = rejecting(init)
    client = open(port, opts)
    send_bytes(client, connect)
    client
  end

  # What is reported of a client that is rejected.
  defp report(functions, bytes) do
    {port, opts} = serve(:listener, Scripted, Scripted.with_functions(functions))

    log =
      capture_log(fn ->
        client = open(port, opts)
        send_bytes(client, bytes)
        assert_receive {:init, pid, _}
        monitor = Process.monitor(pid)
        assert_receive {:DOWN, ^monitor, :process, _, _}
      end)

    refute log =~ "the secret"
    log
  end
end
