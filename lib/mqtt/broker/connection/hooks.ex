defmodule MQTT.Broker.Connection.Hooks do
  @moduledoc false
  # What the broker's handler is told, and what it says.

  alias MQTT.Message
  alias MQTT.Broker.Context
  alias MQTT.Server.Events

  @typedoc "A `MQTT.Broker.Connection`."
  @type s :: struct

  @errors "{:error, reason}` with a reason of MQTT.Reason"
  @clients "`:ok`, `{:ok, data}`, `{:ok, data, user}`, `{:continue, properties, data}` or `#{@errors} of 0x80 or more"
  @answers %{
    authenticate: @clients,
    handle_auth: @clients,
    authorize_publish: "`:ok` or `#{@errors} of 0x80 or more, or `:no_matching_subscribers`",
    authorize_subscribe: "`:ok`, `{:ok, qos}` or `#{@errors} of 0x80 or more",
    handle_publish:
      "`:ok`, `{:ok, message}`, `:drop` or `#{@errors} of 0x80 or more, or `:no_matching_subscribers`",
    authorize_delivery: "`:ok` or `#{@errors} of 0x80 or more"
  }

  @doc "Tells an event."
  @spec event(tuple, s) :: term
  def event(event, s) do
    # A connection may outlive its broker for a moment, also one without a handler that has one when it is started again.
    case Context.get(s.broker) do
      %{hooks: %{handle_event: handle, args: args}} when s.client != nil ->
        handle.(event, s.client, args)

      _ ->
        :ok
    end
  end

  @doc "Tells an event of a kind that not every handler wants to know of."
  @spec event_of_message(atom, tuple, s) :: term
  def event_of_message(kind, event, s), do: if(told?(kind, s), do: event(event, s), else: :ok)

  @doc "Whether the handler wants to know of that kind of event."
  @spec told?(atom, s) :: boolean
  def told?(kind, s), do: kind in Context.get!(s.broker).hooks.events

  @doc "What a callback of the handler says, if it has that."
  @spec ask(atom, [term], otherwise, s) :: otherwise | term when otherwise: term
  def ask(callback, arguments, otherwise, s) do
    case Context.get!(s.broker).hooks do
      %{^callback => _} = hooks when s.client != nil ->
        answer(callback, [s.client | arguments], hooks)

      _ ->
        otherwise
    end
  end

  @doc "What a callback says that the handler has. An `ArgumentError` if it is nothing that it may say."
  @spec answer(atom, [term], MQTT.Broker.Handler.hooks()) :: term
  def answer(callback, arguments, %{args: args} = hooks) do
    function = Map.fetch!(hooks, callback)
    answer = apply(function, arguments ++ [args])
    if answer?(callback, answer), do: answer, else: raise(ArgumentError, wrong(function, answer))
  end

  defp answer?(_callback, :ok), do: true

  # What is refused is no success. A message may be taken that nobody has subscribed to.
  defp answer?(callback, {:error, reason}) do
    case Events.reason(reason) do
      {:ok, 0x10, _} -> callback in [:authorize_publish, :handle_publish]
      {:ok, code, _} -> code >= 0x80
      :error -> false
    end
  end

  defp answer?(:authorize_subscribe, {:ok, qos}), do: qos in 0..2
  defp answer?(:handle_publish, {:ok, message}), do: is_struct(message, Message)
  defp answer?(:handle_publish, answer), do: answer == :drop

  defp answer?(callback, answer) when callback in [:authenticate, :handle_auth] do
    case answer do
      {:ok, _data} -> true
      {:ok, _data, user} -> is_binary(user)
      {:continue, properties, _data} -> is_map(properties)
      _ -> false
    end
  end

  defp answer?(_callback, _answer), do: false

  defp wrong(function, answer) do
    [module: module, name: name, arity: arity] =
      for key <- [:module, :name, :arity], do: Function.info(function, key)

    # Cut short: it may hold a message.
    shown = inspect(answer, limit: 20, printable_limit: 200)

    "#{name}/#{arity} of #{inspect(module)} must return #{Map.fetch!(@answers, name)}, got: #{shown}"
  end
end
