defmodule MQTT.Server.Connection.Connecting do
  @moduledoc false
  # A client until it is accepted or rejected: what init/2, and handle_auth/3 where it takes several rounds, said of it, and
  # what follows from that.

  import MQTT.Server.Connection.{Actions, Asking, Time}

  alias MQTT.{Native, Session}
  alias MQTT.Server.{Accepting, Events, Will, Writer}
  alias MQTT.Server.Connection.Actions

  @doc "What is told to init/2 besides CONNECT."
  @spec describe(Actions.s()) :: Actions.s()
  def describe(%{params: %{transport: _}} = s), do: s

  def describe(%{io: :native} = s) do
    {peer, local} = Native.connection_addresses(s.connection)
    %{s | params: %{transport: :tcp, peer: peer, local: local}}
  end

  def describe(%{io: {:ssl, socket}} = s), do: %{s | params: Accepting.describe(socket)}

  @doc "CONNECT has come."
  @spec connect(map, Actions.s()) :: Actions.step()
  def connect(params, s) do
    id = Accepting.assigned_id(params)
    params = if id, do: %{params | client_id: id}, else: params
    params = Map.merge(params, s.params)
    # A report of the logger may have the state.
    kept = Map.take(params, [:clean_session, :last_will])

    fn -> s.module.init(s.state, params) end
    |> Events.confidential()
    |> decided(%{s | params: kept, assigned_id: id})
  end

  @doc "What init/2 said, and handle_auth/3 until the client is accepted."
  @spec decided(term, Actions.s()) :: Actions.step()
  def decided(result, s) do
    Writer.release()
    decide(result, s)
  end

  defp decide({:ok, state}, s), do: accept(state, [], s)
  defp decide({:ok, state, actions}, s), do: accept(state, List.wrap(actions), s)

  defp decide({:continue, properties, state}, s) do
    Native.connection_authenticate(s.connection, 0x18, properties)
    |> said({:auth, properties}, %{s | state: state, phase: :authenticating})
    |> and_then(&check_time/1)
    |> and_then(&read_on/1)
  end

  defp decide({:error, reason, _state}, s), do: reject(reason, s)
  defp decide({:stop, reason}, s), do: reject(reason, s)
  defp decide(other, s), do: {:stop, {:bad_return_value, other}, s}

  defp read_on(s) do
    send(self(), {:"$mqtt", :more})
    {:noreply, s}
  end

  defp accept(state, actions, s) do
    {told, actions} = Accepting.split(actions)

    case Accepting.check(told, s.handler) do
      :ok -> accept(told, state, actions, s)
      {:error, reason} -> {:stop, reason, s}
    end
  end

  defp accept(%Accepting{asks: asks} = told, state, actions, s) do
    session = session(told, s)
    will = Will.new(told.will, s.params[:last_will])
    clean = s.params.clean_session
    kept = Enum.reverse(s.kept)
    id = s.assigned_id
    s = %{s | state: state, params: nil, kept: kept, will: will, asks: asks}

    {session, clean, id, told.properties, told.route}
    |> accept_natively(s.connection)
    |> said({:connack, told.properties}, s)
    |> accepted()
    |> and_then(&watch_will/1)
    |> and_then(&if(session, do: write([], &1), else: {:noreply, &1}))
    |> and_then(&act(actions, state, &1))
    |> and_then(&flush/1)
    |> and_then(&ask/1)
    |> and_then(&check_time/1)
    |> and_then(&{:noreply, &1, {:continue, :kept}})
  end

  # With much to forget it is for a dirty scheduler.
  defp accept_natively(accepted, connection) do
    with :large <- Native.connection_accept(connection, accepted),
         do: Native.connection_accept_large(connection, accepted)
  end

  defp accepted({:noreply, s}), do: {:noreply, %{s | phase: :connected}}

  # The handler has let it in, and hears of its end: a newer connection has the session, CONNACK did not fit, or the will is one
  # that CONNACK rules out.
  defp accepted({:stop, {:shutdown, :session_taken_over} = reason, s}) do
    Session.put_current(nil)
    {:stop, reason, %{s | phase: :connected, will: nil}}
  end

  defp accepted({:stop, reason, s}), do: {:stop, reason, %{s | phase: :connected, will: nil}}

  defp watch_will(s) do
    if s.will, do: Will.Guard.watch(s.will, s.module, s.state)
    {:noreply, s}
  end

  defp session(%{session: nil}, _s), do: nil

  defp session(%{session: session, asks: asks}, s) do
    {session, number} =
      case session do
        :new -> {Native.connection_new_session(s.connection), nil}
        {session, number} -> {session, number}
        session -> {session, nil}
      end

    Session.put_current(session)
    {session, asks, number}
  end

  defp reject(reason, s) do
    case Accepting.rejection(reason) do
      {:ok, code, exact, properties} ->
        Native.connection_reject(s.connection, code, exact, properties)
        |> said({:stop, {code, properties}}, s)
        |> and_then(&{:stop, :normal, &1})

      :error ->
        {:stop, reason, s}
    end
  end
end
